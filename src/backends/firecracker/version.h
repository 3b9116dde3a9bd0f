#pragma once
// Firecracker's version: which are good enough. Floors: 1.14.4 and 1.15.1, the first of their lines without
// CVE-2026-5747.
#include "src/base/os/result.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace cleanroom::backends::firecracker {

struct Version {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t patch = 0;
  std::string text;  // as the program prints it, without the `v`: "1.17.0-dev"
};

// From the output of `firecracker --version`; invalid_input.
base::Result<Version> parse_version(std::string_view output);
// vmm_unavailable: too old; says which would do.
base::Result<void> check_version(const Version& version);

// Asks the program, or what is kept of its answer in `cache_directory` (may be empty) under the file's identity. Blocks
// for milliseconds. vmm_unavailable.
base::Result<Version> program_version(const std::filesystem::path& binary,
                                      const std::filesystem::path& cache_directory);

}  // namespace cleanroom::backends::firecracker
