#pragma once
// LayerStream: a layer's tar as it comes out of its blob, with every byte counted and hashed on both sides of the
// compression. Three threads work on it: one reads and decompresses the blob, one hashes the tar, and the caller
// applies it; a ring of buffers lies between them, so memory is bounded whatever is slow.
#include "src/base/net/sha256.h"
#include "src/base/os/fd.h"
#include "src/image/decompressor.h"
#include "src/image/limits.h"
#include "src/image/tar_reader.h"
#include "src/model/digest.h"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace cleanroom::image {

// What all layers of an image may take together. Borrowed by each LayerStream; usable from any thread.
class ExpansionBudget {
 public:
  // `directory` is where the image is being written; its file system keeps limits.disk_reserve_bytes free.
  ExpansionBudget(const Limits& limits, const base::Fd& directory) : limits_(limits), directory_(directory) {}
  base::Result<void> take(std::uint64_t bytes);
  const Limits& limits() const { return limits_; }

 private:
  const Limits& limits_;
  const base::Fd& directory_;
  std::mutex mutex_;
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
  // Starts to read ahead at once; what is wrong with the blob is found by read() or finish(). `budget` is borrowed.
  static base::Result<std::unique_ptr<LayerStream>> open(std::unique_ptr<ContentReader> blob, LayerExpectation expected,
                                                         ExpansionBudget& budget);
  // Aborts a read of the blob that is under way.
  ~LayerStream() override;

  // image_invalid (the blob is damaged or of another compression than expected), image_limit, and what the blob's
  // reader fails with. Blocks until there are bytes.
  base::Result<std::size_t> read(std::span<std::byte> into) override;
  // Reads to the end of tar and blob, and compares digests and size. image_invalid on any difference.
  base::Result<void> finish();

 private:
  LayerStream(std::unique_ptr<ContentReader> blob, LayerExpectation expected, ExpansionBudget& budget);
  base::Result<void> start();
  void decompress_all();
  base::Result<void> decompress_blob();
  base::Result<bool> fill_raw();  // false: the blob has ended
  base::Result<bool> fill_slot(Decompressor& decompressor, std::vector<std::byte>& slot);
  base::Result<void> check_start();
  base::Result<void> check_blob();
  bool wait_for_room();
  void hash_all();
  base::Result<bool> next_part();  // part_: the next bytes of the tar

  static constexpr std::size_t kSlots = 8;
  std::unique_ptr<ContentReader> blob_;
  LayerExpectation expected_;
  ExpansionBudget& budget_;

  // The producer's alone.
  std::vector<std::byte> raw_;
  std::size_t raw_at_ = 0;
  bool raw_ended_ = false;
  std::uint64_t raw_bytes_ = 0;
  std::uint64_t tar_bytes_ = 0;
  base::Sha256 raw_hash_;
  base::Sha256 tar_hash_;  // the hasher's alone until it is done
  // The consumer's alone.
  std::span<const std::byte> part_;
  bool slot_held_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::byte> slots_[kSlots];  // slot n % kSlots belongs to the producer until filled_ passes n
  std::uint64_t filled_ = 0;
  std::uint64_t hashed_ = 0;
  std::uint64_t consumed_ = 0;
  bool stopping_ = false;
  bool produced_all_ = false;
  std::optional<base::Error> error_;
  std::thread producer_;
  std::thread hasher_;
};

}  // namespace cleanroom::image
