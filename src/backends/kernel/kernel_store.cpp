#include "src/backends/kernel/kernel_store.h"

#include "src/base/net/sha256.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

namespace cleanroom::backends {

using base::Code;
using base::Result;
namespace fs = std::filesystem;

namespace {

constexpr std::chrono::minutes kLockLimit{10};  // scripts/prepare-kernel holds it while it downloads
constexpr std::string_view kCurrent = "current";
constexpr std::string_view kImage = "vmlinuz";
constexpr std::string_view kElf = "vmlinux";

bool is_kernel_name(std::string_view name) {
  return !name.empty() && name.front() != '.' && name != kCurrent && name.find('/') == std::string_view::npos;
}

// Symbolic links count as nothing and lead nowhere.
std::uint64_t bytes_below(const fs::path& directory) {
  std::uint64_t bytes = 0;
  std::error_code ec;
  for (auto entry = fs::recursive_directory_iterator(directory, ec); !ec && entry != fs::end(entry);
       entry.increment(ec)) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored) && !entry->is_symlink(ignored)) bytes += entry->file_size(ignored);
  }
  return bytes;
}

std::optional<StoredKernel> read_kernel(const fs::path& directory) {
  if (::access((directory / kImage).c_str(), R_OK) != 0) return std::nullopt;
  const std::string name = directory.filename().native();
  StoredKernel kernel{.name = name, .version = name, .bytes = bytes_below(directory), .manifest = {}};
  if (::access((directory / kManifestName).c_str(), F_OK) != 0) return kernel;
  auto manifest = read_kernel_manifest(directory);
  if (!manifest || ::access((directory / kElf).c_str(), R_OK) != 0) return std::nullopt;
  kernel.origin = KernelOrigin::built;
  kernel.version = manifest->version;
  kernel.manifest = std::move(*manifest);
  return kernel;
}

bool is_whole(const fs::path& directory, const KernelManifest& manifest) {
  const auto image = digest_of_file(directory / kImage);
  const auto elf = digest_of_file(directory / kElf);
  return image && elf && *image == manifest.vmlinuz_digest && *elf == manifest.vmlinux_digest;
}

}  // namespace

std::string_view to_string(KernelOrigin origin) {
  return origin == KernelOrigin::built ? "built" : "distribution";
}

Result<std::vector<StoredKernel>> KernelStore::list() const {
  std::vector<StoredKernel> kernels;
  std::error_code ec;
  if (!fs::exists(root_, ec)) return kernels;
  const fs::path current = fs::canonical(root_ / kCurrent, ec);
  std::error_code failed;
  fs::directory_iterator entry(root_, failed);
  for (; !failed && entry != fs::end(entry); entry.increment(failed)) {
    std::error_code ignored;
    if (!is_kernel_name(entry->path().filename().native()) || !entry->is_directory(ignored)) continue;
    auto kernel = read_kernel(entry->path());
    if (!kernel) continue;
    kernel->current = fs::equivalent(entry->path(), current, ignored);
    kernels.push_back(std::move(*kernel));
  }
  if (failed) return base::fail(base::errno_error("list", root_.native(), failed.value()));
  std::sort(kernels.begin(), kernels.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return kernels;
}

Result<std::optional<KernelManifest>> KernelStore::find_built(const std::string& inputs_digest) const {
  CR_ASSIGN(const auto kernels, list());
  for (const auto& kernel : kernels) {
    if (!kernel.manifest || kernel.manifest->inputs_digest != inputs_digest) continue;
    if (is_whole(directory(kernel.name), *kernel.manifest)) return kernel.manifest;
  }
  return std::nullopt;
}

Result<KernelLock> KernelStore::lock() const {
  CR_TRY(base::make_private_directories(root_));
  return KernelLock::take(root_ / ".lock", base::deadline_in(kLockLimit));
}

Result<void> KernelStore::use(const std::string& name) const {
  CR_ASSIGN(const auto kernels, list());
  const auto is_it = [&name](const StoredKernel& kernel) { return kernel.name == name; };
  if (std::none_of(kernels.begin(), kernels.end(), is_it)) {
    std::string names;
    for (const auto& kernel : kernels)
      names += (names.empty() ? "" : ", ") + kernel.name;
    return base::fail(base::Error(Code::not_found, "kernel_unavailable",
                                  fmt::format("cannot use kernel '{}': there is none of that name", name))
                          .with_hint(names.empty() ? "cleanroom kernel fetch or cleanroom kernel build gets one"
                                                   : "one of: " + names));
  }
  CR_ASSIGN(const auto held, lock());
  CR_ASSIGN(const auto work, base::TempDir::create(root_, ".new."));
  const fs::path link = work.path() / kCurrent;
  if (::symlink(name.c_str(), link.c_str()) != 0) return base::fail(base::errno_error("make link", link.native()));
  if (::rename(link.c_str(), (root_ / kCurrent).c_str()) != 0)
    return base::fail(base::errno_error("switch", (root_ / kCurrent).native()));
  return {};
}

Result<void> KernelStore::publish(const fs::path& finished, const std::string& name) const {
  CR_ASSIGN(const auto held, lock());
  CR_ASSIGN(const auto old, base::TempDir::create(root_, ".old."));
  const fs::path target = directory(name);
  if (::rename(target.c_str(), (old.path() / name).c_str()) != 0 && errno != ENOENT)
    return base::fail(base::errno_error("move away", target.native()));
  if (::rename(finished.c_str(), target.c_str()) != 0) return base::fail(base::errno_error("publish", target.native()));
  return {};
}

Result<std::string> digest_of_file(const fs::path& path) {
  CR_ASSIGN(const auto file, base::open_file(path, O_RDONLY));
  base::Sha256 hash;
  std::vector<std::byte> buffer(1 << 20);
  for (;;) {
    CR_ASSIGN(const auto n, base::read_some(file, buffer));
    if (n == 0) return "sha256:" + hash.finish_hex();
    hash.update(std::span(buffer).first(n));
  }
}

}  // namespace cleanroom::backends
