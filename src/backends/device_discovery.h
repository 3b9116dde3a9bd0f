#pragma once
// How a guest's kernel finds its virtio-mmio devices. On the command line (virtio_mmio.device=..., which the VMM adds)
// nothing has to be parsed or probed: a trimmed kernel boots without ACPI. A distribution's kernel reads ACPI's tables.
#include <string_view>

namespace cleanroom::backends {

enum class DeviceDiscovery { acpi, command_line };

constexpr std::string_view to_string(DeviceDiscovery discovery) {
  return discovery == DeviceDiscovery::acpi ? "acpi" : "command_line";
}

}  // namespace cleanroom::backends
