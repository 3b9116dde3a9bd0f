#include "src/image/ext4_blocks.h"

#include "src/base/os/check.h"
#include "src/base/os/io.h"

#include <fcntl.h>

#include <cerrno>

namespace cleanroom::image {
namespace {

constexpr std::size_t kPendingBytes = 1u << 20;

}  // namespace

BlockFile::BlockFile(base::Fd file, std::uint32_t first, std::uint32_t limit)
    : file_(std::move(file)), first_(first), limit_(limit), next_(first) {
  pending_.reserve(kPendingBytes);
}

base::Result<void> BlockFile::check_room(std::uint64_t count) const {
  if (next_ + count <= limit_) return {};
  return base::fail(base::Code::invalid_input, "image_limit",
                    fmt::format("cannot write the file system: its content is larger than {} MiB",
                                std::uint64_t{limit_} * kBlockSize >> 20));
}

base::Result<std::uint32_t> BlockFile::append(BlockBytes block) {
  CR_TRY(check_room(1));
  if (pending_.size() + kBlockSize > kPendingBytes) CR_TRY(flush());
  pending_.insert(pending_.end(), block.begin(), block.end());
  return next_++;
}

base::Result<std::uint32_t> BlockFile::reserve(std::uint32_t count) {
  CR_TRY(check_room(count));
  CR_TRY(flush());
  const std::uint32_t first = next_;
  next_ += count;
  return first;
}

base::Result<void> BlockFile::write_at(std::uint32_t block, std::span<const std::byte> bytes) {
  return base::pwrite_all(file_, bytes, std::uint64_t{block} * kBlockSize);
}

base::Result<void> BlockFile::flush() {
  if (pending_.empty()) return {};
  const auto blocks = static_cast<std::uint32_t>(pending_.size() / kBlockSize);
  CR_TRY(write_at(next_ - blocks, pending_));
  pending_.clear();
  return {};
}

base::Result<void> BlockFile::release(BlockRange range) {
  if (range.count == 0) return {};
  CR_CHECK(range.first >= first_ && range.first + range.count <= next_, "release of foreign blocks");
  CR_TRY(flush());
  const auto offset = static_cast<off_t>(range.first) * kBlockSize;
  const auto length = static_cast<off_t>(range.count) * kBlockSize;
  if (::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) != 0) {
    if (errno != EOPNOTSUPP) return base::fail(base::errno_error("punch a hole into", "the image"));
    const std::vector<std::byte> zeros(kBlockSize);
    for (std::uint32_t i = 0; i < range.count; ++i)
      CR_TRY(write_at(range.first + i, zeros));
  }
  if (range.first + range.count == next_)
    next_ = range.first;
  else
    released_.push_back(range);
  return {};
}

}  // namespace cleanroom::image
