#include "src/image/ext4_layout.h"

#include "src/image/ext4_blocks.h"
#include "src/image/ext4_inode.h"

#include <algorithm>

namespace cleanroom::image {
namespace {

constexpr std::uint64_t kBytesPerInode = 16384;  // of a file system of fixed size, as mke2fs has it
constexpr std::uint32_t kInodesPerBlock = kBlockSize / kInodeBytes;
constexpr std::uint32_t kMaxInodesPerGroup = 8 * kBlockSize;  // one bitmap block
// libext2fs drops a last group that is hardly larger than its own metadata.
constexpr std::uint32_t kTailSlack = 64;

base::Failure too_small(const Ext4Options& options) {
  return base::fail(
      base::Code::invalid_input, "image_limit",
      fmt::format("cannot make the file system: its content does not fit into {} MiB", options.size_bytes >> 20));
}

std::uint64_t groups_for(std::uint64_t blocks) {
  return (blocks + kBlocksPerGroup - 1) / kBlocksPerGroup;
}

Layout with_inodes(std::uint64_t blocks, std::uint64_t groups, std::uint64_t inodes) {
  const std::uint64_t each = (inodes + groups - 1) / groups;
  const std::uint64_t rounded =
      (std::max<std::uint64_t>(each, 1) + kInodesPerBlock - 1) / kInodesPerBlock * kInodesPerBlock;
  Layout layout;
  layout.blocks = static_cast<std::uint32_t>(blocks);
  layout.groups = static_cast<std::uint32_t>(groups);
  layout.inodes_per_group = static_cast<std::uint32_t>(std::min<std::uint64_t>(rounded, kMaxInodesPerGroup));
  layout.table_blocks = layout.inodes_per_group / kInodesPerBlock;
  return layout;
}

std::uint32_t smallest_tail(const Layout& layout) {
  return 2 + layout.table_blocks + kTailSlack + 1 + descriptor_blocks(layout.groups);
}

base::Result<Layout> plan_fixed(const Ext4Options& options, std::uint32_t data_end, std::uint64_t inodes) {
  std::uint64_t blocks = options.size_bytes / kBlockSize;
  const std::uint64_t wanted = std::max(inodes, options.size_bytes / kBytesPerInode);
  for (;;) {
    if (blocks == 0) return too_small(options);
    const Layout layout = with_inodes(blocks, groups_for(blocks), wanted);
    const std::uint64_t tail = blocks % kBlocksPerGroup;
    if (tail > 0 && tail < smallest_tail(layout)) {
      blocks -= tail;
      continue;
    }
    const bool fits = std::uint64_t{layout.groups} * layout.inodes_per_group >= inodes &&
                      std::uint64_t{data_end} + layout.metadata_blocks() <= blocks;
    return fits ? base::Result<Layout>(layout) : too_small(options);
  }
}

Layout plan_to_fit(const Ext4Options& options, std::uint32_t data_end, std::uint64_t inodes) {
  std::uint64_t groups = std::max<std::uint64_t>(1, (inodes + kMaxInodesPerGroup - 1) / kMaxInodesPerGroup);
  const std::uint64_t free_blocks = (options.free_bytes + kBlockSize - 1) / kBlockSize;
  for (;;) {
    Layout layout = with_inodes(0, groups, inodes);
    std::uint64_t total = data_end + layout.metadata_blocks() + free_blocks;
    total = std::max(total, (groups - 1) * kBlocksPerGroup + smallest_tail(layout));
    const std::uint64_t tail = total % kBlocksPerGroup;
    if (tail > 0 && tail < smallest_tail(layout)) total += smallest_tail(layout) - tail;
    if (groups_for(total) == groups) {
      layout.blocks = static_cast<std::uint32_t>(total);
      return layout;
    }
    groups = groups_for(total);
  }
}

}  // namespace

base::Result<Layout> plan_layout(const Ext4Options& options, std::uint32_t data_end, std::uint32_t last_inode) {
  const std::uint64_t inodes = std::uint64_t{last_inode} + options.free_inodes;
  if (options.size_bytes != 0) return plan_fixed(options, data_end, inodes);
  return plan_to_fit(options, data_end, inodes);
}

}  // namespace cleanroom::image
