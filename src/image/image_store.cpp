#include "src/image/image_store.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/clock.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/base/text/json.h"
#include "src/image/image_builder.h"
#include "src/image/image_error.h"
#include "src/image/image_source.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Json;
using base::Result;

constexpr std::size_t kMaxRecordBytes = 4u << 20;
constexpr int kRecordVersion = 1;
constexpr std::chrono::minutes kBuildTimeout{60};  // of another process that builds the same image
constexpr int kLockPollMilliseconds = 50;
constexpr const char* kRootfs = "rootfs.ext4";
constexpr const char* kRecord = "image.json";

base::Failure not_here(const model::Digest& digest, std::string_view why) {
  return fail(base::Error(Code::not_found, "image_not_found", fmt::format("the image {} {}", digest.to_string(), why))
                  .with_hint("import it: cleanroom image import oci:DIR, oci-archive:FILE or docker-archive:FILE"));
}

Json to_json(const StoredImage& image) {
  return {{"version", kRecordVersion},
          {"digest", image.digest.to_string()},
          {"source", image.source},
          {"created", image.created},
          {"rootfs_bytes", image.rootfs_bytes},
          {"config",
           {{"env", image.config.env},
            {"user", image.config.user},
            {"workdir", image.config.workdir},
            {"entrypoint", image.config.entrypoint},
            {"cmd", image.config.cmd}}}};
}

// The record is ours, but whoever can write the directory could have edited it: types are checked by nlohmann, which
// throws.
Result<StoredImage> from_json(const Json& json, const model::Digest& digest, const std::filesystem::path& directory) {
  try {
    StoredImage image{.digest = digest, .rootfs = directory / kRootfs};
    const Json& config = json.at("config");
    config.at("env").get_to(image.config.env);
    config.at("user").get_to(image.config.user);
    config.at("workdir").get_to(image.config.workdir);
    config.at("entrypoint").get_to(image.config.entrypoint);
    config.at("cmd").get_to(image.config.cmd);
    json.at("source").get_to(image.source);
    json.at("created").get_to(image.created);
    json.at("rootfs_bytes").get_to(image.rootfs_bytes);
    if (json.at("version") == kRecordVersion && json.at("digest") == digest.to_string()) return image;
  } catch (const nlohmann::json::exception&) {
    // as below
  }
  return not_here(digest, "has a damaged record in the store");
}

Result<base::Fd> take_lock(const std::filesystem::path& path) {
  CR_ASSIGN(base::Fd fd, base::open_file(path, O_RDWR | O_CREAT, 0600));
  const base::Deadline deadline = base::deadline_in(kBuildTimeout);
  // flock() has no timeout of its own; the kernel drops the lock when its holder dies.
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail(base::errno_error("lock", path.native()));
    if (base::time_left(deadline).count() == 0) {
      return fail(
          Code::timeout,
          fmt::format("cannot lock '{}': another process has been building this image for an hour", path.native()));
    }
    ::poll(nullptr, 0, kLockPollMilliseconds);
  }
  return fd;
}

Result<void> sync(const base::Fd& fd, const std::filesystem::path& path) {
  return ::fsync(fd.get()) == 0 ? Result<void>() : fail(base::errno_error("sync", path.native()));
}

// What builds of this digest left behind when they were killed. Its lock is held.
void sweep(const std::filesystem::path& root, const std::string& prefix) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root, ignored)) {
    if (entry.path().filename().native().starts_with(prefix)) std::filesystem::remove_all(entry.path(), ignored);
  }
}

Result<StoredImage> build_into(const std::filesystem::path& directory, const ImageSource& source,
                               std::string_view written_as, const Limits& limits) {
  CR_ASSIGN(const BuildPlan plan, source.plan());
  CR_ASSIGN(const base::Fd directory_fd, base::open_file(directory, O_RDONLY | O_DIRECTORY));
  const auto rootfs = directory / kRootfs;
  CR_ASSIGN(base::Fd file, base::open_file(rootfs, O_RDWR | O_CREAT | O_EXCL, 0600));
  CR_ASSIGN(const base::Fd kept, base::open_file(rootfs, O_RDWR));
  CR_TRY(build_image(source.files(), plan, source.digest(), std::move(file), directory_fd, limits));
  if (::fchmod(kept.get(), 0444) != 0) return fail(base::errno_error("set mode of", rootfs.native()));
  CR_TRY(sync(kept, rootfs));
  struct stat info {};
  if (::fstat(kept.get(), &info) != 0) return fail(base::errno_error("examine", rootfs.native()));
  StoredImage image{.digest = source.digest(),
                    .rootfs = rootfs,
                    .rootfs_bytes = static_cast<std::uint64_t>(info.st_size),
                    .config = plan.config,
                    .source = std::string(written_as),
                    .created = base::format_utc_now()};
  CR_TRY(base::write_file_atomically(directory / kRecord, base::canonical_json(to_json(image)) + "\n", 0444));
  CR_TRY(sync(directory_fd, directory));
  return image;
}

}  // namespace

Result<std::filesystem::path> default_image_root() {
  const char* data = std::getenv("XDG_DATA_HOME");
  const char* home = std::getenv("HOME");
  // The XDG specification: a relative path is as good as none.
  if (data && *data == '/') return std::filesystem::path(data) / "cleanroom/images";
  if (home && *home == '/') return std::filesystem::path(home) / ".local/share/cleanroom/images";
  return fail(Code::failed_precondition,
              "cannot find the image store: neither XDG_DATA_HOME nor HOME is an absolute path");
}

Result<StoredImage> ImageStore::find(const model::Digest& digest) const {
  const auto directory = root_ / digest.hex();
  auto text = base::read_file(directory / kRecord, kMaxRecordBytes);
  if (!text && text.error().code == Code::not_found) return not_here(digest, "is not in the store");
  if (!text) return fail(text.error());
  auto json = base::parse_json(*text, kRecord, {.max_bytes = kMaxRecordBytes});
  if (!json) return not_here(digest, "has a damaged record in the store");
  CR_ASSIGN(StoredImage image, from_json(*json, digest, directory));
  struct stat info {};
  const bool intact = ::lstat(image.rootfs.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
                      (info.st_mode & 0222) == 0 && static_cast<std::uint64_t>(info.st_size) == image.rootfs_bytes;
  if (!intact) return not_here(digest, "is damaged in the store");
  return image;
}

Result<std::vector<StoredImage>> ImageStore::list() const {
  std::vector<StoredImage> images;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
    const auto digest = model::Digest::parse("sha256:" + entry.path().filename().native());
    if (!digest) continue;
    auto image = find(*digest);
    if (image) images.push_back(std::move(*image));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(base::errno_error("list", root_.native(), error.value()));
  }
  std::sort(images.begin(), images.end(), [](const auto& a, const auto& b) { return a.digest < b.digest; });
  return images;
}

Result<StoredImage> ImageStore::ensure(std::string_view source_text) {
  CR_ASSIGN(const SourceName name, parse_source(source_text));
  if (name.kind == SourceKind::stored) {
    CR_ASSIGN(const model::Digest digest, model::Digest::parse(name.digest));
    return find(digest);
  }
  const auto explain = [&](base::Error error) {
    return fail(std::move(error).with_context(fmt::format("cannot import the image '{}'", shown(source_text))));
  };
  auto source = ImageSource::open(name, limits_);
  if (!source) return explain(std::move(source.error()));
  const std::string& hex = source->digest().hex();
  if (auto present = find(source->digest())) return present;

  CR_TRY(base::make_private_directories(root_));
  CR_ASSIGN(const base::Fd lock, take_lock(root_ / ("." + hex + ".lock")));
  if (auto present = find(source->digest())) return present;  // built while we waited
  const std::string prefix = ".build-" + hex + "-";
  sweep(root_, prefix);
  CR_ASSIGN(base::TempDir temporary, base::TempDir::create(root_, prefix));
  auto built = build_into(temporary.path(), *source, source_text, limits_);
  if (!built) return explain(std::move(built.error()));

  const auto target = root_ / hex;
  // find() refused what stands there, so it is damaged: out of the way, and gone with the next sweep at the latest.
  const auto old = root_ / (prefix + "damaged");
  if (::rename(target.c_str(), old.c_str()) != 0 && errno != ENOENT)
    return fail(base::errno_error("move", target.native()));
  if (::rename(temporary.path().c_str(), target.c_str()) != 0)
    return fail(base::errno_error("publish", target.native()));
  temporary.release();
  sweep(root_, prefix);
  CR_ASSIGN(const base::Fd root, base::open_file(root_, O_RDONLY | O_DIRECTORY));
  CR_TRY(sync(root, root_));
  built->rootfs = target / kRootfs;
  return built;
}

}  // namespace cleanroom::image
