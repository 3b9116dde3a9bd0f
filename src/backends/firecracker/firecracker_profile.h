#pragma once
// What Firecracker needs of the host, as a profile of the jail. Files that it only reads get names there; what it
// writes, logs and disks, are descriptors that it opens again under /proc/self/fd.
#include "src/backends/jail/vmm_profile.h"
#include "src/base/os/result.h"

#include <cstdint>
#include <filesystem>

namespace cleanroom::backends::firecracker {

struct ProfileOptions {
  std::filesystem::path binary;
  std::filesystem::path cache_directory;  // of shared_objects_of()
  std::uint32_t vcpus = 1;
  std::uint64_t memory_mib = 512;
  std::uint64_t largest_file = 0;  // bytes, of those that it writes
};

// Blocks like shared_objects_of(), for a Firecracker that is not static.
base::Result<jail::VmmProfile> firecracker_profile(const ProfileOptions& options);

// The system calls that Firecracker makes, before and after it has filters of its own; those are narrower, and each of
// its threads has one.
jail::SeccompProfile firecracker_seccomp();

}  // namespace cleanroom::backends::firecracker
