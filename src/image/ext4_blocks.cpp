#include "src/image/ext4_blocks.h"

#include "src/base/os/check.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <isa-l/crc64.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace cleanroom::image {
namespace {

constexpr std::size_t kPendingBytes = 1u << 20;
constexpr std::uint64_t kSendBytes = 16u << 20;
constexpr std::uint64_t kCopyBytes = 64u << 20;

}  // namespace

std::uint64_t block_checksum(std::uint64_t checksum, std::span<const std::byte> bytes) {
  return crc64_ecma_refl(checksum, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

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
  checksum_ = block_checksum(checksum_, pending_);
  pending_.clear();
  const std::uint64_t end = std::uint64_t{next_} * kBlockSize;
  if (early_ && end >= sent_ + kSendBytes) {
    // Only a start: a failure shows at the sync that follows.
    ::sync_file_range(file_.get(), static_cast<off_t>(sent_), static_cast<off_t>(end - sent_), SYNC_FILE_RANGE_WRITE);
    sent_ = end;
  }
  return {};
}

base::Result<void> BlockFile::copy_by_hand(const base::Fd& source, std::uint64_t from, std::uint64_t to,
                                           std::uint64_t left) const {
  std::vector<std::byte> part(kPendingBytes);
  for (; left > 0;) {
    const auto bytes = std::span(part).first(static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), left)));
    CR_TRY(base::pread_exact(source, bytes, from));
    CR_TRY(base::pwrite_all(file_, bytes, to));
    from += bytes.size();
    to += bytes.size();
    left -= bytes.size();
  }
  return {};
}

base::Result<std::uint64_t> BlockFile::take_checksum() {
  CR_TRY(flush());
  return std::exchange(checksum_, 0);
}

base::Result<std::uint32_t> BlockFile::adopt(const base::Fd& source, BlockRange range) {
  CR_TRY(check_room(range.count));
  CR_TRY(flush());
  const std::uint32_t first = next_;
  const std::uint64_t length = std::uint64_t{range.count} * kBlockSize;
  auto from = static_cast<off_t>(range.first) * kBlockSize;
  auto to = static_cast<off_t>(first) * kBlockSize;
  next_ += range.count;
  if (range.count == 0) return first;
  file_clone_range clone{source.get(), static_cast<std::uint64_t>(from), length, static_cast<std::uint64_t>(to)};
  if (::ioctl(file_.get(), FICLONERANGE, &clone) == 0) return first;
  for (std::uint64_t left = length; left > 0;) {
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(left, kCopyBytes));
    const ssize_t n = ::copy_file_range(source.get(), &from, file_.get(), &to, part, 0);
    if (n < 0 && errno == EINTR) continue;
    // Between some file systems the kernel copies nothing; then it goes through here.
    if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM)) {
      CR_TRY(copy_by_hand(source, static_cast<std::uint64_t>(from), static_cast<std::uint64_t>(to), left));
      return first;
    }
    if (n < 0) return base::fail(base::errno_error("copy", "a layer of another image"));
    if (n == 0)
      return base::fail(base::Code::internal, "cannot copy a layer of another image: it is shorter than it was");
    left -= static_cast<std::uint64_t>(n);
  }
  return first;
}

void BlockFile::release(BlockRange range) {
  if (range.count == 0) return;
  CR_CHECK(range.first >= first_ && range.first + range.count <= next_, "release of foreign blocks");
  released_.push_back(range);
  released_blocks_ += range.count;
}

base::Result<void> BlockFile::punch_released() {
  CR_TRY(flush());
  for (const BlockRange range : released_) {
    const auto offset = static_cast<off_t>(range.first) * kBlockSize;
    const auto length = static_cast<off_t>(range.count) * kBlockSize;
    if (::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) == 0) continue;
    if (errno != EOPNOTSUPP) return base::fail(base::errno_error("punch a hole into", "the image"));
    const std::vector<std::byte> zeros(kBlockSize);
    for (std::uint32_t i = 0; i < range.count; ++i)
      CR_TRY(write_at(range.first + i, zeros));
  }
  return {};
}

}  // namespace cleanroom::image
