#pragma once
// BlockFile: hands out the blocks of an image file from front to back and writes them in large runs.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cleanroom::image {

inline constexpr std::uint32_t kBlockSize = 4096;
using BlockBytes = std::span<const std::byte>;  // kBlockSize long

struct BlockRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

// CRC-64 (ECMA-182) of `checksum`'s bytes and these: a check against bits that rot.
std::uint64_t block_checksum(std::uint64_t checksum, std::span<const std::byte> bytes);

class BlockFile {
 public:
  // Blocks [first, limit) may be handed out. The file is empty and reads as zeros.
  BlockFile(base::Fd file, std::uint32_t first, std::uint32_t limit);

  // The next block, with `block` as its content.
  base::Result<std::uint32_t> append(BlockBytes block);
  // `count` blocks in a run that stay zero until write_at().
  base::Result<std::uint32_t> reserve(std::uint32_t count);
  base::Result<void> write_at(std::uint32_t block, std::span<const std::byte> bytes);
  // The next blocks, with the content of a range of another file: shared where its file system can (reflink), else
  // copied within the kernel. Returns the first.
  base::Result<std::uint32_t> adopt(const base::Fd& source, BlockRange range);
  // Gives blocks back: they are free in the bitmap, and keep their content until punch_released().
  void release(BlockRange range);
  // Makes holes of what was released.
  base::Result<void> punch_released();
  base::Result<void> flush();
  // Of what was appended, not adopted, since it was last asked for. Flushes.
  base::Result<std::uint64_t> take_checksum();
  // From now on written data is sent to the disk early, for a file that will be synced anyway.
  void write_back_early() { early_ = true; }

  std::uint32_t next() const { return next_; }
  std::uint32_t first() const { return first_; }
  void set_limit(std::uint32_t limit) { limit_ = limit; }
  const std::vector<BlockRange>& released() const { return released_; }
  std::uint64_t released_blocks() const { return released_blocks_; }
  const base::Fd& fd() const { return file_; }

 private:
  base::Result<void> check_room(std::uint64_t count) const;
  base::Result<void> copy_by_hand(const base::Fd& source, std::uint64_t from, std::uint64_t to,
                                  std::uint64_t left) const;

  base::Fd file_;
  std::uint32_t first_;
  std::uint32_t limit_;
  std::uint32_t next_;
  std::vector<std::byte> pending_;  // the content of the blocks before next_
  std::vector<BlockRange> released_;
  std::uint64_t released_blocks_ = 0;
  std::uint64_t checksum_ = 0;
  bool early_ = false;
  std::uint64_t sent_ = 0;  // bytes of the file whose writing has been started
};

}  // namespace cleanroom::image
