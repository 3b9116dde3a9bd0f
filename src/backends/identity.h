#pragma once
// Texts that change whenever a thing does: what snapshots are keyed by.
#include "src/backends/backend.h"

#include <filesystem>
#include <string>
#include <string_view>

namespace cleanroom::backends {

// Path, device, inode, size and times of a file, without reading it. An error when there is none.
base::Result<std::string> file_identity(const std::filesystem::path& file);
// Model, stepping, microcode and features of this host's first processor, from /proc/cpuinfo: one that differs may lack
// what a running guest has found before.
base::Result<std::string> processor_identity();

// Of this boot of this host, a UUID.
base::Result<std::string> boot_identity();

// What a snapshot depends on besides the machine's own description: the VMM's program, kernel, initramfs, sizes of the
// disks, this host's processor. A few system calls.
base::Result<std::string> surroundings_identity(const std::filesystem::path& vmm, const LaunchSpec& spec);
// Whether a processor of that identity shows VT-x or AMD-V.
bool has_virtualisation(std::string_view processor_identity);

}  // namespace cleanroom::backends
