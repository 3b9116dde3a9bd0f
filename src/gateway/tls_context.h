#pragma once
// The gateway's side of TLS as a client: TLS 1.2 and later, certificates verified against this host's bundle and the
// operator's, never against what an environment variable names: under Buildkite a pipeline sets those.
#include "src/base/os/result.h"

#include <boost/asio/ssl/context.hpp>

#include <filesystem>
#include <optional>

namespace cleanroom::gateway {

struct TlsOptions {
  std::filesystem::path system_bundle = "/etc/ssl/certs/ca-certificates.crt";
  std::optional<std::filesystem::path> extra_bundle;  // PEM, in addition
};

// Reads files. failed_precondition when there is no bundle at all, or the operator's cannot be read.
base::Result<boost::asio::ssl::context> make_tls_context(const TlsOptions& options);

}  // namespace cleanroom::gateway
