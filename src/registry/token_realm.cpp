#include "src/registry/token_realm.h"

#include "src/registry/registry_address.h"

#include <libpsl.h>

#include <algorithm>
#include <cstdint>
#include <optional>

namespace cleanroom::registry {
namespace {

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;

struct RealmUrl {
  bool https = true;
  model::HostName host;
  std::uint16_t port;
  std::string_view target;  // from the path on; may be empty

  std::uint16_t usual_port() const { return https ? kHttpsPort : kHttpPort; }
  std::string authority() const {
    const auto with_port = host.with_port(port);
    return port == usual_port() ? with_port.substr(0, with_port.rfind(':')) : with_port;
  }
};

// RFC 3986 without what readers disagree on.
bool is_target_char(char c) {
  return c > ' ' && c < '\x7f' && std::string_view("\"#<>\\^`{|}").find(c) == std::string_view::npos;
}

bool starts_with_scheme(std::string_view url, std::string_view scheme) {
  const auto same = [](char a, char b) { return a == b || (a >= 'A' && a <= 'Z' && a - 'A' + 'a' == b); };
  return url.size() >= scheme.size() &&
         std::equal(scheme.begin(), scheme.end(), url.begin(), [&](char want, char have) { return same(have, want); });
}

std::optional<RealmUrl> parse(std::string_view url) {
  if (url.size() > kMaxRealmBytes || !std::all_of(url.begin(), url.end(), is_target_char)) return std::nullopt;
  const bool https = starts_with_scheme(url, "https://");
  if (!https && !starts_with_scheme(url, "http://")) return std::nullopt;
  url.remove_prefix(https ? 8 : 7);
  const auto end = std::min(url.find_first_of("/?"), url.size());
  const auto address = parse_registry_address(url.substr(0, end));
  if (!address) return std::nullopt;
  return RealmUrl{.https = https,
                  .host = address->host,
                  .port = address->port.value_or(https ? kHttpsPort : kHttpPort),
                  .target = url.substr(end)};
}

// Empty for addresses, public suffixes and names of one label: nobody is in the same domain as those.
std::string_view registrable_domain(const model::HostName& host) {
  if (host.is_ip()) return {};
  const char* const domain = psl_registrable_domain(psl_builtin(), host.text().c_str());
  return domain == nullptr ? std::string_view{} : std::string_view(domain);
}

bool is_trusted(const RealmUrl& url, const RegistryAddress& registry, std::string_view token_realm) {
  if (url.host == registry.host) return true;
  const auto domain = registrable_domain(url.host);
  if (!domain.empty() && domain == registrable_domain(registry.host)) return true;
  if (token_realm.empty()) return false;
  const auto chosen = parse_registry_address(token_realm);
  return chosen && chosen->host == url.host && chosen->port.value_or(url.usual_port()) == url.port;
}

}  // namespace

base::Result<std::string> check_token_realm(std::string_view url, const TokenRealmRules& rules) {
  const auto registry = parse_registry_address(rules.registry);
  const auto realm = parse(url);
  if (!registry || !realm) {
    return base::fail(base::Code::invalid_input, "image_pull_failed",
                      fmt::format("cannot use the token service of '{}': its address is no plain http or https URL",
                                  registry ? rules.registry : "a registry"));
  }
  const auto refuse = [&](std::string_view cause) {
    return base::Error(base::Code::policy_denied, "image_access_denied",
                       fmt::format("cannot send the login of '{}' to token service '{}': {}", rules.registry,
                                   realm->authority(), cause));
  };
  if (!realm->https && !rules.insecure) return base::fail(refuse("it is plain HTTP"));
  if (!is_trusted(*realm, *registry, rules.token_realm)) {
    return base::fail(refuse("it is of another domain")
                          .with_hint(fmt::format("if it is right, the operator sets token_realm: \"{}\" for this "
                                                 "registry under registries in config.yaml",
                                                 realm->authority())));
  }
  std::string out = fmt::format("{}://{}", realm->https ? "https" : "http", realm->authority());
  if (!realm->target.starts_with('/')) out += '/';
  return out.append(realm->target);
}

}  // namespace cleanroom::registry
