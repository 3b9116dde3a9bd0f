#pragma once
// What QEMU needs of the host, as a profile of the jail. Disks, sockets and its state are descriptors, and not in it.
#include "src/backends/jail/vmm_profile.h"
#include "src/backends/qemu/qemu_arguments.h"
#include "src/base/os/result.h"

#include <filesystem>

namespace cleanroom::backends::qemu {

// `largest_disk`: bytes. Blocks like shared_objects_of(), for the first of these after QEMU was installed.
base::Result<jail::VmmProfile> qemu_profile(const QemuMachine& machine, std::uint64_t largest_disk,
                                            const std::filesystem::path& cache_directory);

// The system calls that QEMU makes on this accelerator; a test compares them with what a stub may do.
jail::SeccompProfile qemu_seccomp(Accelerator accelerator);
// The same for a restored machine: its memory is descriptor 0, opened for reading, whatever QEMU asks for. A template
// is many machines' memory, and none may write it.
jail::SeccompProfile with_memory_as_input(jail::SeccompProfile profile);

}  // namespace cleanroom::backends::qemu
