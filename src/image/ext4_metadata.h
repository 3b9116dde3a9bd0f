#pragma once
// The last step of an image: bitmaps, inode tables, group descriptors and superblock.
#include "src/image/ext4_blocks.h"
#include "src/image/ext4_inode.h"
#include "src/image/ext4_writer.h"

#include <vector>

namespace cleanroom::image {

struct InodeList {
  InodeRecord root;
  std::vector<InodeRecord> others;  // from kFirstInode on
  std::vector<ExtraInode> extras;
  std::vector<std::uint32_t> directories;  // their inode numbers, the root with them

  std::uint32_t last() const { return kFirstInode - 1 + static_cast<std::uint32_t>(others.size()); }
  InodeRecord& at(std::uint32_t number) { return number == kRootInode ? root : others[number - kFirstInode]; }
  const InodeRecord& at(std::uint32_t number) const {
    return number == kRootInode ? root : others[number - kFirstInode];
  }
};

struct Identity {
  std::array<std::uint8_t, 16> uuid{};
  std::array<std::uint32_t, 4> hash_seed{};
};
Identity identity_from(const std::string& seed);

// The blocks at the front that superblock and group descriptors may need, and the number of blocks data may reach up
// to.
struct FrontPlan {
  std::uint32_t first_data_block = 0;
  std::uint32_t block_limit = 0;
};
base::Result<FrontPlan> plan_front(const Ext4Options& options);

// Writes all that is left, and gives the file its final length.
base::Result<void> write_metadata(BlockFile& blocks, const InodeList& inodes, const Ext4Options& options);

}  // namespace cleanroom::image
