#pragma once
// The guest's kernel and initramfs. A distribution's kernel is a directory with `vmlinuz`, `modules/*.ko` and
// `load-order` (module names, one a line, each after what it needs); scripts/prepare-kernel makes one without root. A
// kernel that was built here (src/backends/kernel) has no modules, but `vmlinux` and a manifest that says what it can
// do. The initramfs is the agent as /init plus those modules: an uncompressed newc archive (decompression costs more
// boot time than reading), kept by the hash of its inputs, which are read when one of them is another file than before.
#include "src/backends/device_discovery.h"
#include "src/base/os/result.h"

#include <filesystem>
#include <optional>
#include <string>

namespace cleanroom::backends {

// What every guest's kernel is told, after which words of the backend's follow. Its security modules and its pressure
// accounting are those of the kernel that `cleanroom kernel build` makes: a distribution's starts others too (Debian's
// AppArmor, Tomoyo), which have no policy here but take part in each exec and open.
inline constexpr const char* kGuestKernelOptions =
    "console=ttyS0 quiet loglevel=2 panic=-1 8250.nr_uarts=1 random.trust_cpu=on lsm=landlock,yama,bpf psi=0";

struct GuestKernel {
  std::filesystem::path image;
  std::filesystem::path module_directory;  // empty: everything is built in
  std::string version;                     // for the run record
  DeviceDiscovery discovery = DeviceDiscovery::acpi;
  unsigned tick_hz = 0;  // its timer ticks a second; 0: not known
};

// `configured` (an image file; modules and manifest beside it count) or else <data>/kernels/current: its vmlinux where
// that has a PVH entry, which needs no decompression. kernel_unavailable, with what to run.
base::Result<GuestKernel> find_guest_kernel(const std::optional<std::filesystem::path>& configured,
                                            const std::filesystem::path& data_directory);

// The initramfs for this kernel and agent: made when no file of that hash is there. Blocks; milliseconds when kept.
base::Result<std::filesystem::path> ensure_initramfs(const GuestKernel& kernel, const std::filesystem::path& agent,
                                                     const std::filesystem::path& cache_directory);

}  // namespace cleanroom::backends
