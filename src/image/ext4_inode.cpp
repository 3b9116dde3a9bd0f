#include "src/image/ext4_inode.h"

#include "src/base/os/check.h"

#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext3_extents.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace cleanroom::image {
namespace {

constexpr std::uint16_t kExtraSize = 32;  // up to and with i_projid
constexpr std::uint32_t kSectorsPerBlock = kBlockSize / 512;

// 34 bits of seconds: a signed 32-bit number and two epoch bits above it (kernel: fs/ext4/ext4.h, EXT4_EPOCH_BITS).
constexpr std::int64_t kMinSeconds = -(std::int64_t{1} << 31);
constexpr std::int64_t kMaxSeconds = (std::int64_t{1} << 34) - (std::int64_t{1} << 31) - 1;

struct DiskTime {
  std::uint32_t seconds;
  std::uint32_t extra;
};

DiskTime disk_time(const Timestamp& time) {
  const std::int64_t seconds = std::clamp(time.seconds, kMinSeconds, kMaxSeconds);
  const auto low = static_cast<std::int32_t>(static_cast<std::uint32_t>(seconds));
  const auto epoch = static_cast<std::uint32_t>((seconds - low) >> 32) & 3u;
  return {static_cast<std::uint32_t>(seconds), (std::min(time.nanoseconds, 999'999'999u) << 2) | epoch};
}

void put_times(const Timestamp& mtime, ext2_inode_large& inode) {
  const DiskTime time = disk_time(mtime);
  inode.i_mtime = inode.i_ctime = inode.i_atime = inode.i_crtime = time.seconds;
  inode.i_mtime_extra = inode.i_ctime_extra = inode.i_atime_extra = inode.i_crtime_extra = time.extra;
}

// Small numbers in the old form in word 0, others in the new form in word 1 (kernel: old_encode_dev, new_encode_dev).
void put_device(std::uint32_t device, ext2_inode_large& inode) {
  const std::uint32_t major = device >> 20;
  const std::uint32_t minor = device & 0xfffff;
  if (major < 256 && minor < 256)
    inode.i_block[0] = (major << 8) | minor;
  else
    inode.i_block[1] = (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}

void put_single_run(const InodeRecord& record, ext2_inode_large& inode) {
  const ext3_extent_header header{.eh_magic = EXT3_EXT_MAGIC,
                                  .eh_entries = static_cast<std::uint16_t>(record.blocks > 0 ? 1 : 0),
                                  .eh_max = 4,
                                  .eh_depth = 0,
                                  .eh_generation = 0};
  std::memcpy(&inode.i_block[0], &header, sizeof header);
  if (record.blocks == 0) return;
  CR_CHECK(record.blocks <= EXT_INIT_MAX_LEN, "a run of {} blocks needs an extent tree", record.blocks);
  const ext3_extent extent{.ee_block = 0,
                           .ee_len = static_cast<std::uint16_t>(record.blocks),
                           .ee_start_hi = 0,
                           .ee_start = record.first_block};
  std::memcpy(&inode.i_block[3], &extent, sizeof extent);
}

}  // namespace

void encode_inode(const InodeRecord& record, const ExtraInode* extra, std::span<std::byte, kInodeBytes> into) {
  static_assert(sizeof(ext2_inode_large) <= kInodeBytes);
  ext2_inode_large inode{};
  inode.i_mode = record.mode;
  inode.i_links_count = record.links;
  inode.i_uid = static_cast<std::uint16_t>(record.uid);
  inode.osd2.linux2.l_i_uid_high = static_cast<std::uint16_t>(record.uid >> 16);
  inode.i_gid = static_cast<std::uint16_t>(record.gid);
  inode.osd2.linux2.l_i_gid_high = static_cast<std::uint16_t>(record.gid >> 16);
  inode.i_size = static_cast<std::uint32_t>(record.size);
  inode.i_size_high = static_cast<std::uint32_t>(record.size >> 32);
  inode.i_extra_isize = kExtraSize;
  put_times(record.mtime, inode);

  std::uint32_t blocks = record.blocks;
  if (extra) {
    blocks += extra->tree_blocks + (extra->xattr_block != 0 ? 1 : 0);
    inode.i_file_acl = extra->xattr_block;
  }
  inode.i_blocks = blocks * kSectorsPerBlock;
  const bool short_symlink = S_ISLNK(record.mode) && record.blocks == 0;
  if (S_ISREG(record.mode) || S_ISDIR(record.mode) || (S_ISLNK(record.mode) && !short_symlink)) {
    inode.i_flags |= EXT4_EXTENTS_FL;
  }
  if (record.hashed_directory) inode.i_flags |= EXT2_INDEX_FL;
  if (S_ISCHR(record.mode) || S_ISBLK(record.mode))
    put_device(record.device, inode);
  else if (extra && extra->area)
    std::memcpy(inode.i_block, extra->area->data(), kBlockAreaBytes);
  else if (inode.i_flags & EXT4_EXTENTS_FL)
    put_single_run(record, inode);

  std::memset(into.data(), 0, into.size());
  std::memcpy(into.data(), &inode, sizeof inode);
  if (extra && !extra->xattrs_in_inode.empty()) {
    std::memcpy(into.data() + EXT2_GOOD_OLD_INODE_SIZE + kExtraSize, extra->xattrs_in_inode.data(),
                extra->xattrs_in_inode.size());
  }
}

}  // namespace cleanroom::image
