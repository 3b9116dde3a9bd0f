#pragma once
// The extent tree of an inode: up to four runs in the inode itself, more in leaf blocks below it. Depth is at most one.
#include "src/image/ext4_blocks.h"

#include <array>
#include <vector>

namespace cleanroom::image {

struct Run {
  std::uint32_t logical = 0;
  std::uint32_t physical = 0;
  std::uint32_t count = 0;  // may exceed what one extent holds; encoding splits it
};

inline constexpr std::size_t kBlockAreaBytes = 60;  // i_block
using BlockArea = std::array<std::byte, kBlockAreaBytes>;

struct ExtentTree {
  BlockArea area{};
  std::uint32_t leaf_blocks = 0;  // blocks that the tree itself takes
};

// A file may have this many runs at most, so that with runs of 128 MiB an extent the tree stays at depth one.
inline constexpr std::size_t kMaxRuns = 600;
inline constexpr std::uint64_t kMaxFileBytes = 95ull << 30;

// Encodes `runs` (sorted by logical block); appends leaf blocks to `blocks` where they are needed.
base::Result<ExtentTree> encode_extents(const std::vector<Run>& runs, BlockFile& blocks);

}  // namespace cleanroom::image
