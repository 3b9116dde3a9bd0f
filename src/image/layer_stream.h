#pragma once
// LayerStream: a layer's tar as it comes out of its blob, with every byte counted and hashed on both sides of the
// compression.
#include "src/base/net/sha256.h"
#include "src/base/os/fd.h"
#include "src/image/limits.h"
#include "src/image/tar_reader.h"
#include "src/model/digest.h"

#include <sys/types.h>

#include <memory>
#include <optional>

struct archive;

namespace cleanroom::image {

enum class Compression { none, gzip, zstd };

// What all layers of an image may take together. Borrowed by each LayerStream.
class ExpansionBudget {
 public:
  // `directory` is where the image is being written; its file system keeps limits.disk_reserve_bytes free.
  ExpansionBudget(const Limits& limits, const base::Fd& directory) : limits_(limits), directory_(directory) {}
  base::Result<void> take(std::uint64_t bytes);
  const Limits& limits() const { return limits_; }

 private:
  const Limits& limits_;
  const base::Fd& directory_;
  std::uint64_t used_ = 0;
  std::uint64_t checked_at_ = 0;
  bool checked_ = false;
};

struct LayerExpectation {
  std::optional<Compression> compression;  // by the media type; without one the first bytes decide
  std::optional<model::Digest> digest;     // of the blob
  std::optional<std::uint64_t> size;       // of the blob
  std::optional<model::Digest> diff_id;    // of the tar
};

class LayerStream final : public TarSource {
 public:
  // image_invalid when the first bytes contradict expected.compression.
  static base::Result<std::unique_ptr<LayerStream>> open(std::unique_ptr<ContentReader> blob, LayerExpectation expected,
                                                         ExpansionBudget& budget);
  ~LayerStream() override;

  base::Result<std::size_t> read(std::span<std::byte> into) override;
  // Reads to the end of tar and blob, and compares digests and size. image_invalid on any difference.
  base::Result<void> finish();

 private:
  LayerStream(std::unique_ptr<ContentReader> blob, LayerExpectation expected, ExpansionBudget& budget);
  base::Result<void> start();
  base::Result<bool> fill_raw();   // raw_: the next bytes of the blob
  base::Result<bool> next_part();  // part_: the next bytes of the tar
  base::Failure decompress_error();
  static ssize_t on_read(archive*, void* self, const void** buffer);

  struct FreeArchive {
    void operator()(archive* a) const;
  };
  std::unique_ptr<ContentReader> blob_;
  LayerExpectation expected_;
  ExpansionBudget& budget_;
  Compression compression_ = Compression::none;
  std::vector<std::byte> raw_;
  bool raw_held_ = false;  // raw_ was read ahead and not yet handed on
  std::uint64_t raw_bytes_ = 0;
  std::uint64_t tar_bytes_ = 0;
  base::Sha256 raw_hash_;
  base::Sha256 tar_hash_;
  std::unique_ptr<archive, FreeArchive> archive_;
  std::optional<base::Error> blob_error_;
  std::span<const std::byte> part_;
  bool ended_ = false;
};

}  // namespace cleanroom::image
