#include "src/backends/kernel/kernel_source.h"

#include "src/backends/kernel/kernel_store.h"
#include "src/base/net/sha256.h"
#include "src/base/os/io.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

namespace cleanroom::backends {

using base::Code;
using base::Result;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxFiles = 500'000;  // a kernel has 80,000

bool is_executable(const fs::file_status& status) {
  return (status.permissions() & fs::perms::owner_exec) != fs::perms::none;
}

// One line a file, sorted by name: kind, digest or target, name.
Result<std::string> digest_of_tree(const fs::path& root) {
  std::vector<fs::path> files;
  std::error_code ec;
  for (fs::recursive_directory_iterator entry(root, ec); !ec && entry != fs::end(entry); entry.increment(ec)) {
    if (entry->path().filename() == ".git") {
      entry.disable_recursion_pending();
    } else if (!entry->is_directory(ec) || entry->is_symlink(ec)) {
      files.push_back(entry->path().lexically_relative(root));
    }
    if (files.size() > kMaxFiles)
      return base::fail(Code::invalid_input,
                        fmt::format("cannot use '{}': more than {} files", root.native(), kMaxFiles));
  }
  if (ec) return base::fail(base::errno_error("list", root.native(), ec.value()));
  std::sort(files.begin(), files.end());
  base::Sha256 hash;
  for (const auto& name : files) {
    const auto status = fs::symlink_status(root / name, ec);
    std::string line;
    if (fs::is_symlink(status)) {
      line = fmt::format("l {} {}\n", fs::read_symlink(root / name, ec).native(), name.native());
    } else {
      CR_ASSIGN(const auto digest, digest_of_file(root / name));
      line = fmt::format("{} {} {}\n", is_executable(status) ? 'x' : 'f', digest, name.native());
    }
    hash.update(base::as_bytes(line));
  }
  return "sha256:" + hash.finish_hex();
}

}  // namespace

Result<KernelSource> open_kernel_source(const fs::path& path) {
  std::error_code ec;
  const fs::path real = fs::canonical(path, ec);
  if (ec) return base::fail(base::errno_error("open the kernel source", path.native(), ec.value()));
  if (!fs::is_directory(real, ec)) {
    CR_ASSIGN(auto digest, digest_of_file(real));
    return KernelSource{SourceKind::tarball, real, std::move(digest)};
  }
  if (!fs::exists(real / "Kconfig", ec) || !fs::exists(real / "Makefile", ec)) {
    return base::fail(
        base::Error(Code::invalid_input, fmt::format("cannot use '{}': it holds no kernel source", real.native()))
            .with_hint("name a source tarball, or the folder that has the kernel's Makefile and Kconfig"));
  }
  CR_ASSIGN(auto digest, digest_of_tree(real));
  return KernelSource{SourceKind::tree, real, std::move(digest)};
}

std::optional<fs::path> find_distribution_source(const fs::path& cache_directory) {
  for (const fs::path& path :
       {fs::path("/usr/src") / kSourceTarball, cache_directory / "kernel-source" / kSourceTarball}) {
    if (::access(path.c_str(), R_OK) == 0) return path;
  }
  return std::nullopt;
}

}  // namespace cleanroom::backends
