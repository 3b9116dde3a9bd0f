#pragma once
// Which binding a request may use. Pure: no source is asked, nothing is read.
#include "src/credentials/bindings.h"
#include "src/credentials/job_identity.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::credentials {

// What the gateway or a pull of an image wants to send upstream.
struct Request {
  model::HostName host;
  std::uint16_t port = 443;
  std::string path;  // of the repository, decoded, without a leading slash: "acme/web" or, for git, "acme/web.git"
  Method method = Method::git_read;
};

struct Choice {
  enum class Kind {
    none,          // no binding names this host; those of registries and those of git do not know each other
    out_of_scope,  // one does, and something else of it does not match
    grant,
  };
  Kind kind = Kind::none;
  std::size_t index = 0;  // into Bindings::entries, for a grant
  // For audit lines and people: binding ids and what did not match; nothing of the request, nothing secret.
  std::string why;
};

// Of several that match, the one with the most specific path counts, then the first of the file. `secrets` is what the
// repository's policy asks for: where entries with target git list a host, only their ids count there, and an id that
// is listed counts on its allowed_hosts only.
Choice choose_binding(const Request& request, const JobIdentity& job, const Bindings& bindings,
                      const std::vector<policy::SecretRequest>& secrets);

}  // namespace cleanroom::credentials
