#pragma once
// The blocks of a directory: a plain list when it fits into one block, else a hashed tree (dir_index), so that a lookup
// in a directory of 100 000 names reads three blocks.
#include "src/image/ext4_blocks.h"

#include <string_view>
#include <vector>

namespace cleanroom::image {

struct DirectoryName {
  std::string_view name;  // 1 to 255 bytes
  std::uint32_t inode = 0;
  std::uint8_t file_type = 0;  // EXT2_FT_*
};

struct DirectoryBlocks {
  BlockRange range;
  bool hashed = false;
};

using HashSeed = std::array<std::uint32_t, 4>;

// Sorts `names`. `already_exists`: one of them is there twice.
base::Result<DirectoryBlocks> write_directory(std::vector<DirectoryName>& names, std::uint32_t self,
                                              std::uint32_t parent, const HashSeed& seed, BlockFile& blocks);

}  // namespace cleanroom::image
