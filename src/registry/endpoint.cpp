#include "src/registry/endpoint.h"

#include <algorithm>

namespace cleanroom::registry {
namespace {

// The one registry that does not answer by its name.
constexpr std::string_view kDockerHubHost = "registry-1.docker.io";

Endpoint endpoint(const std::string& registry, const std::vector<policy::RegistryConfig>& configured, bool mirror) {
  Endpoint made{.registry = registry, .mirror = mirror};
  const auto found = std::find_if(configured.begin(), configured.end(),
                                  [&](const policy::RegistryConfig& config) { return config.host == registry; });
  if (found != configured.end()) {
    made.insecure = found->insecure;
    made.ca_file = found->ca_file;
    made.token_realm = found->token_realm.value_or("");
  }
  made.base_url = (made.insecure ? "http://" : "https://");
  made.base_url += registry == model::kDockerHub ? kDockerHubHost : std::string_view(registry);
  return made;
}

}  // namespace

std::vector<Endpoint> endpoints_of(const std::string& registry, const std::vector<policy::RegistryConfig>& configured) {
  std::vector<Endpoint> endpoints;
  for (const auto& config : configured) {
    if (config.host != registry) continue;
    for (const std::string& mirror : config.mirrors)
      endpoints.push_back(endpoint(mirror, configured, true));
  }
  endpoints.push_back(endpoint(registry, configured, false));
  return endpoints;
}

}  // namespace cleanroom::registry
