// ImageStore::remove() and collect().
#include "src/base/os/io.h"
#include "src/image/build_lock.h"
#include "src/image/image_names.h"
#include "src/image/image_store.h"
#include "src/image/store_entry.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr std::size_t kHexDigits = 64;

// The digest in the name of a build or removal directory: .build-<hex>-XXXXXX.
std::string hex_of_leftover(const std::string& name) {
  for (const std::string_view prefix : {".build-", ".removed-"}) {
    if (name.starts_with(prefix) && name.size() > prefix.size() + kHexDigits)
      return name.substr(prefix.size(), kHexDigits);
  }
  return {};
}

bool is_younger(const std::filesystem::path& path, std::chrono::seconds age) {
  struct stat info {};
  const auto now = std::chrono::system_clock::now();
  return ::lstat(path.c_str(), &info) == 0 && now - std::chrono::system_clock::from_time_t(info.st_mtim.tv_sec) < age;
}

}  // namespace

std::size_t sweep_leftovers(const std::filesystem::path& root, std::chrono::seconds age, bool dry_run) {
  std::size_t count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    const std::string hex = hex_of_leftover(entry.path().filename().native());
    if (hex.empty() || is_younger(entry.path(), age)) continue;
    const auto lock = BuildLock::try_take(root, hex);
    if (!lock || !*lock) continue;
    ++count;
    std::error_code ignored;
    if (!dry_run) std::filesystem::remove_all(entry.path(), ignored);
  }
  return count;
}

namespace {

bool is_in_use(const std::filesystem::path& record) {
  const auto fd = base::open_file(record, O_RDONLY | O_NOFOLLOW);
  return fd && ::flock(fd->get(), LOCK_EX | LOCK_NB) != 0;
}

}  // namespace

void sweep(const std::filesystem::path& root, const std::string& prefix, const std::filesystem::path& except) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root, ignored)) {
    if (entry.path() != except && entry.path().filename().native().starts_with(prefix))
      std::filesystem::remove_all(entry.path(), ignored);
  }
}

std::filesystem::path most_finished(const std::filesystem::path& root, const std::string& prefix) {
  std::filesystem::path best;
  std::size_t most = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
    if (!entry.path().filename().native().starts_with(prefix)) continue;
    std::size_t finished = 0;
    std::error_code ignored;
    for (const auto& file : std::filesystem::directory_iterator(entry.path() / kLayers, ignored))
      finished += file.path().extension() == ".layer" ? 1 : 0;
    if (finished <= most) continue;
    most = finished;
    best = entry.path();
  }
  return best;
}

std::uint64_t disk_bytes_of(const std::filesystem::path& entry) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const auto& file : std::filesystem::recursive_directory_iterator(entry, error)) {
    struct stat info {};
    if (::lstat(file.path().c_str(), &info) == 0) bytes += static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

std::chrono::system_clock::time_point last_use_of(const std::filesystem::path& entry) {
  struct stat info {};
  if (::lstat((entry / kRecord).c_str(), &info) != 0) return {};
  const auto since = std::chrono::seconds(info.st_mtim.tv_sec) + std::chrono::nanoseconds(info.st_mtim.tv_nsec);
  return std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(since));
}

Result<void> ImageStore::remove(const model::Digest& digest) const {
  const auto entry = root_ / digest.hex();
  auto record = base::open_file(entry / kRecord, O_RDONLY | O_NOFOLLOW);
  if (!record) {
    return fail(base::Error(Code::not_found, "image_not_found",
                            fmt::format("cannot remove the image {}: it is not in the store", digest.to_string()))
                    .with_hint("cleanroom image ls shows what is"));
  }
  // Held until the entry has lost its name: no job can begin to use it meanwhile.
  if (::flock(record->get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(base::Error(Code::failed_precondition, "image_in_use",
                            fmt::format("cannot remove the image {}: a job runs in it", digest.to_string()))
                    .with_hint("remove it when the job has ended"));
  }
  const auto away = root_ / (removed_prefix(digest.hex()) + std::to_string(::getpid()));
  if (::rename(entry.c_str(), away.c_str()) != 0) return fail(base::errno_error("remove", entry.native()));
  ImageNames(root_).forget(digest);
  std::error_code error;
  std::filesystem::remove_all(away, error);
  return error ? fail(base::errno_error("remove", away.native(), error.value())) : Result<void>();
}

Result<CollectReport> ImageStore::collect(const CollectOptions& options) const {
  CR_ASSIGN(auto images, list());
  std::sort(images.begin(), images.end(), [](const auto& a, const auto& b) { return a.last_used < b.last_used; });
  CollectReport report;
  for (const auto& image : images)
    report.kept_bytes += image.disk_bytes;
  const auto now = std::chrono::system_clock::now();
  for (auto& image : images) {
    const bool old = options.unused_for && now - image.last_used > *options.unused_for;
    const bool too_much = options.max_bytes && report.kept_bytes > *options.max_bytes;
    if (!old && !too_much) continue;
    if (options.dry_run) {
      if (is_in_use(root_ / image.digest.hex() / kRecord)) continue;
    } else {
      const auto removed = remove(image.digest);
      // In use, or another process was faster: not ours to remove.
      if (!removed && (removed.error().reason == "image_in_use" || removed.error().code == Code::not_found)) continue;
      if (!removed) return fail(removed.error());
    }
    report.kept_bytes -= image.disk_bytes;
    report.removed.push_back(std::move(image));
  }
  report.leftovers = sweep_leftovers(root_, std::chrono::seconds(0), options.dry_run);
  return report;
}

}  // namespace cleanroom::image
