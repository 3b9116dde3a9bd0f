#pragma once
// How many blocks, groups and inodes a file system gets.
#include "src/base/os/result.h"
#include "src/image/ext4_writer.h"

#include <cstdint>

namespace cleanroom::image {

inline constexpr std::uint32_t kBlocksPerGroup = 32768;

struct Layout {
  std::uint32_t blocks = 0;
  std::uint32_t groups = 0;
  std::uint32_t inodes_per_group = 0;
  std::uint32_t table_blocks = 0;  // inode table of one group

  std::uint32_t metadata_blocks() const { return groups * (2 + table_blocks); }
};

// `data_end`: the first block after all data. `last_inode`: the highest inode number in use.
base::Result<Layout> plan_layout(const Ext4Options& options, std::uint32_t data_end, std::uint32_t last_inode);

// Blocks that the descriptors of `groups` groups take.
constexpr std::uint32_t descriptor_blocks(std::uint64_t groups) {
  return static_cast<std::uint32_t>((groups * 32 + 4095) / 4096);
}

}  // namespace cleanroom::image
