#pragma once
// ImageStore: images as read-only ext4 files, one directory a manifest digest, shared by all VMs:
//   <root>/<64 hex>/rootfs.ext4 (0444), <root>/<64 hex>/image.json
// An entry appears whole or not at all (built beside, synced, renamed) and never changes. Processes that want the same
// digest at once build it once: they queue on <root>/.<hex>.lock.
#include "src/base/os/result.h"
#include "src/image/limits.h"
#include "src/model/digest.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::image {

// What the image's config says about processes (OCI image-spec config.md).
struct ImageConfig {
  std::vector<std::string> env;  // "K=V"
  std::string user;
  std::string workdir;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
};

struct StoredImage {
  model::Digest digest;  // of the manifest
  std::filesystem::path rootfs;
  std::uint64_t rootfs_bytes = 0;  // logical size of rootfs.ext4
  ImageConfig config;
  std::string source;   // as written at import
  std::string created;  // when it was built here, RFC 3339
};

// $XDG_DATA_HOME/cleanroom/images, or ~/.local/share/cleanroom/images.
base::Result<std::filesystem::path> default_image_root();

class ImageStore {
 public:
  explicit ImageStore(std::filesystem::path root, Limits limits = {}) : root_(std::move(root)), limits_(limits) {}

  // The image that `source` names, built when it is not there yet. Sources: `oci:DIR[:tag]`, `oci-archive:FILE[:tag]`,
  // `docker-archive:FILE[:name]`, or a registry reference with a digest (`name@sha256:...`) or a bare digest, which are
  // looked up in the store only. Takes a few milliseconds when present, minutes when not (blocks).
  // Reasons: image_ref_invalid, image_not_found, image_invalid, image_limit.
  base::Result<StoredImage> ensure(std::string_view source);

  // Only what is here; never builds. image_not_found.
  base::Result<StoredImage> find(const model::Digest& digest) const;
  // By digest. Entries that cannot be read are left out.
  base::Result<std::vector<StoredImage>> list() const;

 private:
  std::filesystem::path root_;
  Limits limits_;
};

}  // namespace cleanroom::image
