#include "src/image/image_store.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/clock.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/base/text/json.h"
#include "src/image/build_lock.h"
#include "src/image/image_builder.h"
#include "src/image/image_error.h"
#include "src/image/image_names.h"
#include "src/image/layer_checkpoints.h"
#include "src/image/store_entry.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Json;
using base::Result;

constexpr std::size_t kMaxRecordBytes = 4u << 20;
constexpr int kRecordVersion = 1;
constexpr std::chrono::hours kLeftoverAge{24};
constexpr std::chrono::seconds kLeaseTimeout{2};  // a removal unlocks at once, or takes the name away
constexpr int kLeasePollMilliseconds = 5;

base::Failure not_here(const model::Digest& digest, std::string_view why) {
  return fail(
      base::Error(Code::not_found, "image_not_found", fmt::format("the image {} {}", digest.to_string(), why))
          .with_hint("pull or import it: cleanroom image pull NAME@sha256:..., cleanroom image import oci:DIR"));
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

Result<void> sync(const base::Fd& fd, const std::filesystem::path& path) {
  return ::fsync(fd.get()) == 0 ? Result<void>() : fail(base::errno_error("sync", path.native()));
}

// Finds layers in the images of a store and in what killed builds of this image left. Opens each image file once.
class StoredLayers {
 public:
  StoredLayers(const std::filesystem::path& root, const std::string& build_prefix, const std::filesystem::path& own) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(root, ignored)) {
      const std::string name = entry.path().filename().native();
      const bool image = model::Digest::parse("sha256:" + name).has_value();
      if ((image || name.starts_with(build_prefix)) && entry.path() != own) places_.push_back({entry.path(), nullptr});
    }
    // Whole images first, then by name: which one is taken must not depend on the directory's order.
    std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) { return a.path > b.path; });
  }

  std::optional<StoredLayer> find(const model::Digest& diff_id) {
    for (Place& place : places_) {
      auto file = base::open_file(place.path / kLayers / LayerCheckpoints::file_name(diff_id), O_RDONLY | O_NOFOLLOW);
      if (!file) continue;
      auto index = LayerIndexReader::open(std::move(*file));
      if (!index || !open_image(place)) continue;
      const std::uint64_t end = (std::uint64_t{index->data().first} + index->data().count) * kBlockSize;
      struct stat info {};
      if (::fstat(place.image->get(), &info) != 0 || static_cast<std::uint64_t>(info.st_size) < end) continue;
      if (!index->matches(*place.image)) continue;
      return StoredLayer{place.image, std::move(*index)};
    }
    return std::nullopt;
  }

 private:
  struct Place {
    std::filesystem::path path;
    std::shared_ptr<const base::Fd> image;
  };
  static bool open_image(Place& place) {
    if (place.image) return true;
    auto fd = base::open_file(place.path / kRootfs, O_RDONLY | O_NOFOLLOW);
    if (fd) place.image = std::make_shared<const base::Fd>(std::move(*fd));
    return place.image != nullptr;
  }
  std::vector<Place> places_;
};

Result<StoredImage> build_into(const std::filesystem::path& directory, const ImageSource& source,
                               std::string_view written_as, BuildOptions options) {
  CR_ASSIGN(const BuildPlan plan, source.plan());
  CR_ASSIGN(const base::Fd directory_fd, base::open_file(directory, O_RDONLY | O_DIRECTORY));
  options.layers = directory / kLayers;
  CR_TRY(base::make_private_directories(options.layers));
  const auto rootfs = directory / kRootfs;
  CR_ASSIGN(base::Fd file, base::open_file(rootfs, O_RDWR | O_CREAT | O_EXCL, 0600));
  CR_ASSIGN(const base::Fd kept, base::open_file(rootfs, O_RDWR));
  CR_TRY(build_image(source.files(), plan, source.digest(), std::move(file), directory_fd, options));
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
  CR_ASSIGN(const base::Fd layers_fd, base::open_file(options.layers, O_RDONLY | O_DIRECTORY));
  CR_TRY(sync(layers_fd, options.layers));
  CR_TRY(sync(directory_fd, directory));
  return image;
}

// Puts what was built where it belongs. What stands there already is damaged: out of the way, and gone with the next
// sweep at the latest.
Result<void> publish(const std::filesystem::path& root, base::TempDir built, const std::string& hex) {
  const auto target = root / hex;
  const auto old = root / (removed_prefix(hex) + "damaged");
  sweep(root, old.filename().native());  // of one that was killed here
  if (::rename(target.c_str(), old.c_str()) != 0 && errno != ENOENT)
    return fail(base::errno_error("move", target.native()));
  if (::rename(built.path().c_str(), target.c_str()) != 0) return fail(base::errno_error("publish", target.native()));
  built.release();
  CR_ASSIGN(const base::Fd fd, base::open_file(root, O_RDONLY | O_DIRECTORY));
  return sync(fd, root);
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

Result<StoredImage> ImageStore::read(const model::Digest& digest) const {
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

// The lock is on the record. One that was removed between open and lock is no longer the file of that name.
Result<StoredImage> ImageStore::take_lease(const model::Digest& digest) const {
  const auto record = root_ / digest.hex() / kRecord;
  const base::Deadline deadline = base::deadline_in(kLeaseTimeout);
  base::Fd fd;
  for (;;) {
    auto opened = base::open_file(record, O_RDONLY | O_NOFOLLOW);
    if (!opened) return not_here(digest, "is not in the store");
    struct stat held {};
    struct stat named {};
    const bool locked = ::flock(opened->get(), LOCK_SH | LOCK_NB) == 0;
    const bool same =
        ::fstat(opened->get(), &held) == 0 && ::lstat(record.c_str(), &named) == 0 && held.st_ino == named.st_ino;
    fd = std::move(*opened);
    if (locked && same) break;
    if (base::time_left(deadline).count() == 0) return not_here(digest, "is being removed from the store");
    // Who removes it, or asks whether it is in use, has it locked for a moment.
    if (!locked) ::poll(nullptr, 0, kLeasePollMilliseconds);
  }
  CR_ASSIGN(StoredImage image, read(digest));
  // The time of the last use, for collect(). Not ours: then nobody collects by it either.
  ::futimens(fd.get(), nullptr);
  image.lease = std::make_shared<const base::Fd>(std::move(fd));
  return image;
}

Result<StoredImage> ImageStore::find(const model::Digest& digest) const {
  auto image = take_lease(digest);
  if (image) return image;
  const auto manifest = ImageNames(root_).alias(digest);
  return manifest ? take_lease(*manifest) : image;
}

Result<StoredImage> ImageStore::find(const model::ImageReference& reference) const {
  if (reference.digest()) return find(*reference.digest());
  const auto named = ImageNames(root_).named(reference);
  if (named) return find(named->digest);
  return fail(base::Error(Code::not_found, "image_not_found",
                          fmt::format("the image '{}' is not in the store", reference.to_string()))
                  .with_hint(fmt::format("cleanroom image pull {}", reference.to_string())));
}

Result<std::vector<StoredImage>> ImageStore::list() const {
  std::vector<StoredImage> images;
  auto names = ImageNames(root_).all();
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
    const auto digest = model::Digest::parse("sha256:" + entry.path().filename().native());
    if (!digest) continue;
    auto image = read(*digest);
    if (!image) continue;
    image->disk_bytes = disk_bytes_of(entry.path());
    image->last_used = last_use_of(entry.path());
    if (auto found = names.find(*digest); found != names.end()) image->names = std::move(found->second);
    images.push_back(std::move(*image));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(base::errno_error("list", root_.native(), error.value()));
  }
  std::sort(images.begin(), images.end(), [](const auto& a, const auto& b) { return a.digest < b.digest; });
  return images;
}

Result<StoredImage> ImageStore::build(const ImageSource& source, std::string_view written_as,
                                      const std::stop_token& stop) const {
  const std::string& hex = source.digest().hex();
  if (auto present = find(source.digest())) return present;
  CR_TRY(base::make_private_directories(root_));
  CR_ASSIGN(const BuildLock lock, BuildLock::take(root_, hex, stop));
  if (auto present = find(source.digest())) return present;  // built while we waited
  CR_ASSIGN(base::TempDir temporary, base::TempDir::create(root_, build_prefix(hex)));
  StoredLayers layers(root_, build_prefix(hex), temporary.path());
  const auto failed = [&](base::Error error) {
    // Finished layers are of use to a next try, when there is a point in one; on a full disk they are in its way.
    const bool again =
        (error.code == Code::unavailable || error.code == Code::timeout || error.code == Code::cancelled) &&
        error.os_errno == 0;
    // This try may have got less far than the one before it.
    const auto kept = again ? most_finished(root_, build_prefix(hex)) : std::filesystem::path();
    if (kept == temporary.path()) temporary.release();
    sweep(root_, build_prefix(hex), kept);
    return fail(std::move(error).with_context(fmt::format("cannot prepare the image '{}'", shown(written_as))));
  };
  auto built = build_into(temporary.path(), source, written_as,
                          {.limits = limits_, .layers = {}, .stored = [&](const auto& id) { return layers.find(id); }});
  if (!built) return failed(std::move(built.error()));
  CR_TRY(publish(root_, std::move(temporary), hex));
  sweep(root_, build_prefix(hex));
  // A pull that was cancelled is taken up again soon, or never.
  sweep_leftovers(root_, kLeftoverAge, false);
  sweep(root_, removed_prefix(hex));
  return find(source.digest());
}

Result<StoredImage> ImageStore::import(const ImageSource& source, std::string_view written_as,
                                       const std::stop_token& stop) const {
  CR_ASSIGN(StoredImage image, build(source, written_as, stop));
  CR_TRY(ImageNames(root_).set_imported(image.digest));
  return image;
}

Result<StoredImage> ImageStore::ensure(std::string_view source_text, const std::stop_token& stop) const {
  CR_ASSIGN(const SourceName name, parse_source(source_text));
  if (name.kind == SourceKind::stored) return find(*name.digest);
  if (name.kind == SourceKind::registry) return find(*name.reference);
  auto source = ImageSource::open(name, limits_);
  if (!source)
    return fail(
        std::move(source.error()).with_context(fmt::format("cannot prepare the image '{}'", shown(source_text))));
  return import(*source, source_text, stop);
}

}  // namespace cleanroom::image
