#pragma once
// What is remembered of an inode until the inode tables are written, and its form on disk.
#include "src/image/ext4_extents.h"
#include "src/image/tree_entry.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace cleanroom::image {

inline constexpr std::uint32_t kInodeBytes = 256;
inline constexpr std::uint32_t kRootInode = 2;
inline constexpr std::uint32_t kJournalInode = 8;
inline constexpr std::uint32_t kFirstInode = 11;

// Small on purpose: there may be a million.
struct InodeRecord {
  std::uint16_t mode = 0;  // with the type bits
  std::uint16_t links = 1;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t device = 0;  // major << 20 | minor
  Timestamp mtime;
  std::uint64_t size = 0;
  std::uint32_t first_block = 0;  // one run from the start of the file, if there is no ExtraInode::area
  std::uint32_t blocks = 0;       // of data
  std::uint32_t extra = 0;        // index + 1 into the list of ExtraInode
  bool hashed_directory = false;
};

// The rarer parts.
struct ExtraInode {
  std::optional<BlockArea> area;  // extent tree of several runs, or a short symlink's target
  std::uint32_t tree_blocks = 0;
  std::uint32_t xattr_block = 0;
  std::vector<std::byte> xattrs_in_inode;
};

// `extra` may be null.
void encode_inode(const InodeRecord& record, const ExtraInode* extra, std::span<std::byte, kInodeBytes> into);

}  // namespace cleanroom::image
