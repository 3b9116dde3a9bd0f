#pragma once
// Files of this tree that the program carries inside, so that it can make a kernel without the tree: the configuration
// fragment, and the scripts that get packages from the distribution. CMake embeds them (CMakeLists.txt beside).
#include "src/base/os/result.h"

#include <filesystem>
#include <span>
#include <string_view>

namespace cleanroom::backends {

struct BundledFile {
  std::string_view path;  // from the root of the tree
  std::string_view text;
};

std::string_view kernel_fragment();
std::span<const BundledFile> bundled_scripts();

// Writes the scripts below `directory`, at their paths.
base::Result<void> unpack_bundled_scripts(const std::filesystem::path& directory);

}  // namespace cleanroom::backends
