#pragma once
// The guest's kernel and initramfs. A kernel directory holds `vmlinuz`, and for a distribution's kernel `modules/*.ko`
// and `load-order` (module names, one a line, each after what it needs); scripts/prepare-kernel makes one without root.
// The initramfs is the agent as /init plus those modules: an uncompressed newc archive (decompression costs more boot
// time than reading), kept by the hash of its inputs.
#include "src/base/os/result.h"

#include <filesystem>
#include <optional>
#include <string>

namespace cleanroom::backends {

struct GuestKernel {
  std::filesystem::path image;
  std::filesystem::path module_directory;  // empty: everything is built in
  std::string version;                     // for the run record
};

// `configured` (an image file; modules beside it count) or else <data>/kernels/current.
// kernel_unavailable, with what to run.
base::Result<GuestKernel> find_guest_kernel(const std::optional<std::filesystem::path>& configured,
                                            const std::filesystem::path& data_directory);

// The initramfs for this kernel and agent: made when no file of that hash is there. Blocks; milliseconds when kept.
base::Result<std::filesystem::path> ensure_initramfs(const GuestKernel& kernel, const std::filesystem::path& agent,
                                                     const std::filesystem::path& cache_directory);

}  // namespace cleanroom::backends
