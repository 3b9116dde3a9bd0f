#pragma once
// An ELF vmlinux, for a VMM that takes nothing else. It is the file `vmlinux` beside the kernel's image where there is
// one; else what the bzImage holds compressed (Documentation/x86/boot.rst: payload_offset, protocol 2.08), taken out
// once and kept under the image's identity.
#include "src/base/os/result.h"

#include <filesystem>

namespace cleanroom::backends {

// An image that is ELF already is returned as it is. kernel_unavailable: neither ELF nor a bzImage with a payload that
// is compressed with gzip, bzip2, lzma, xz, lz4 or zstd. Blocks: up to a second the first time.
base::Result<std::filesystem::path> ensure_elf_kernel(const std::filesystem::path& image,
                                                      const std::filesystem::path& cache_directory);

}  // namespace cleanroom::backends
