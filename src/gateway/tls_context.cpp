#include "src/gateway/tls_context.h"

#include <openssl/ssl.h>

namespace cleanroom::gateway {

namespace ssl = boost::asio::ssl;
using base::Result;

namespace {

Result<void> load(ssl::context& context, const std::filesystem::path& bundle) {
  boost::system::error_code ec;
  context.load_verify_file(bundle.native(), ec);
  if (!ec) return {};
  return base::fail(base::Code::failed_precondition, "config_invalid",
                    fmt::format("cannot load the certificates in '{}': {}", bundle.native(), ec.message()));
}

}  // namespace

Result<ssl::context> make_tls_context(const TlsOptions& options) {
  // Before anything else of OpenSSL: openssl.cnf may load code, and OPENSSL_CONF may name another one.
  OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  ssl::context context(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  context.set_verify_mode(ssl::verify_peer);
  std::error_code ignored;
  const bool has_system = std::filesystem::exists(options.system_bundle, ignored);
  if (has_system) CR_TRY(load(context, options.system_bundle));
  if (options.extra_bundle) CR_TRY(load(context, *options.extra_bundle));
  if (has_system || options.extra_bundle) return context;
  base::Error error(base::Code::failed_precondition, "config_invalid",
                    fmt::format("cannot verify servers: there is no '{}'", options.system_bundle.native()));
  return base::fail(std::move(error).with_hint("install ca-certificates, or set gateway.ca_file in config.yaml"));
}

}  // namespace cleanroom::gateway
