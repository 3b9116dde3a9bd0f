#pragma once
// `host[:port]`, as references and config.yaml name a registry and as authorities of URLs stand.
#include "src/model/host_name.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace cleanroom::registry {

struct RegistryAddress {
  model::HostName host;
  std::optional<std::uint16_t> port;  // nullopt: the scheme's
};

// `name`, `name:port`, `[v6]`, `[v6]:port`. invalid_input, which quotes nothing, for anything else.
base::Result<RegistryAddress> parse_registry_address(std::string_view text);

}  // namespace cleanroom::registry
