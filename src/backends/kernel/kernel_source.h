#pragma once
// Where a kernel's source comes from: a tarball or an unpacked tree that the caller names, or else the distribution's
// linux-source package, installed or in the cache.
#include "src/base/os/result.h"

#include <filesystem>
#include <optional>
#include <string>

namespace cleanroom::backends {

// Debian 12's kernel, whose security updates arrive in this package.
constexpr const char* kSourcePackage = "linux-source-6.1";
constexpr const char* kSourceTarball = "linux-source-6.1.tar.xz";

enum class SourceKind { tarball, tree };

struct KernelSource {
  SourceKind kind = SourceKind::tarball;
  std::filesystem::path path;
  std::string digest;  // "sha256:..." of the tarball, or of names, modes and contents of the tree's files
};

// The named source, a file or a folder. not_found; invalid_input for a folder that holds no kernel. Reads all of it:
// half a second for a tarball, some more for a tree.
base::Result<KernelSource> open_kernel_source(const std::filesystem::path& path);

// The distribution's tarball when it is there: installed below /usr/src, or fetched into `cache_directory` before.
std::optional<std::filesystem::path> find_distribution_source(const std::filesystem::path& cache_directory);

}  // namespace cleanroom::backends
