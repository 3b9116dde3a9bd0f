#pragma once
// ImageStore: images as read-only ext4 files, one directory a manifest digest, shared by all VMs:
//   <root>/<64 hex>/rootfs.ext4 (0444), image.json (0444), layers/<64 hex>.layer (what other images may take from it)
//   <root>/names/, aliases/    image_names.h
//   <root>/.<hex>.lock (build_lock.h), .build-<hex>-*, .removed-<hex>-*    of builds and removals under way, or killed
// An entry appears whole or not at all (built beside, synced, renamed) and never changes but for the time of its last
// use. Processes that want the same digest at once build it once: they queue on its lock. A build that was killed
// leaves finished layers behind, which the next build of the same image takes over.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/image/image_source.h"
#include "src/image/limits.h"
#include "src/model/digest.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::image {

struct StoredImage {
  model::Digest digest;  // of the manifest
  std::filesystem::path rootfs;
  std::uint64_t rootfs_bytes = 0;  // logical size of rootfs.ext4
  std::uint64_t disk_bytes = 0;    // what the entry takes on the disk; of list() only
  ImageConfig config;
  std::string source;              // as written when it was built
  std::vector<std::string> names;  // references that mean this image here; of list() only
  std::string created;             // when it was built here, RFC 3339
  std::chrono::system_clock::time_point last_used;
  std::shared_ptr<const base::Fd> lease;  // while it lives, the image is in use and cannot be removed; not of list()
};

// $XDG_DATA_HOME/cleanroom/images, or ~/.local/share/cleanroom/images.
base::Result<std::filesystem::path> default_image_root();

struct CollectOptions {
  std::optional<std::uint64_t> max_bytes;          // the least recently used go until the rest takes no more
  std::optional<std::chrono::seconds> unused_for;  // what was not used for so long goes
  bool dry_run = false;
};
struct CollectReport {
  std::vector<StoredImage> removed;  // or to be removed
  std::uint64_t kept_bytes = 0;
  std::size_t leftovers = 0;  // of builds that were killed
};

class ImageStore {
 public:
  explicit ImageStore(std::filesystem::path root, Limits limits = {}) : root_(std::move(root)), limits_(limits) {}
  const std::filesystem::path& root() const { return root_; }
  const Limits& limits() const { return limits_; }

  // Only what is here; never builds. `digest` is a manifest's, or an index's with an alias. Counts as a use.
  // image_not_found. A few system calls.
  base::Result<StoredImage> find(const model::Digest& digest) const;
  // The image that a reference means: by its digest, or by a name that was given to it here. image_not_found.
  base::Result<StoredImage> find(const model::ImageReference& reference) const;
  // By digest. Entries that cannot be read are left out. No use, no lease.
  base::Result<std::vector<StoredImage>> list() const;

  // The image of an opened source, built when it is not there yet. Takes a few milliseconds when present, minutes when
  // not (blocks); `stop` ends waiting for another process's build, the caller ends the source's reads. `written_as`:
  // what to show as its source. image_invalid, image_limit, cancelled, and what the source fails with.
  base::Result<StoredImage> build(const ImageSource& source, std::string_view written_as,
                                  const std::stop_token& stop = {}) const;
  // build() of what is on this host: the operator put it here for all jobs, under any name.
  base::Result<StoredImage> import(const ImageSource& source, std::string_view written_as,
                                   const std::stop_token& stop = {}) const;
  // The image that a local or stored source names (image_source.h), built when it is not there yet. As build(), and
  // image_ref_invalid, image_not_found.
  base::Result<StoredImage> ensure(std::string_view source, const std::stop_token& stop = {}) const;

  // Removes the image with its names. image_not_found, image_in_use.
  base::Result<void> remove(const model::Digest& digest) const;
  // Removes what the options say and is not in use, and what killed builds left.
  base::Result<CollectReport> collect(const CollectOptions& options) const;

 private:
  base::Result<StoredImage> read(const model::Digest& digest) const;
  base::Result<StoredImage> take_lease(const model::Digest& digest) const;
  std::filesystem::path root_;
  Limits limits_;
};

}  // namespace cleanroom::image
