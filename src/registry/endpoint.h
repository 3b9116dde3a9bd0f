#pragma once
// Endpoint: a host that serves the repositories of a registry: the registry itself, or a mirror of it.
#include "src/model/image_reference.h"
#include "src/policy/operator_config.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::registry {

struct Endpoint {
  std::string registry;  // host[:port] as references name it
  std::string base_url;  // https://host[:port], without a slash at the end
  bool insecure = false;
  bool mirror = false;
  std::optional<std::filesystem::path> ca_file;
  std::string token_realm;  // the operator's; empty: none
};

// Where an image of `registry` may be had: its mirrors in their order, then the registry.
std::vector<Endpoint> endpoints_of(const std::string& registry, const std::vector<policy::RegistryConfig>& configured);

}  // namespace cleanroom::registry
