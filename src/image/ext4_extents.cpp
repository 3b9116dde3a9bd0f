#include "src/image/ext4_extents.h"

#include "src/base/os/check.h"

#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext3_extents.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace cleanroom::image {
namespace {

static_assert(std::endian::native == std::endian::little, "on-disk structures are written as they are in memory");

constexpr std::uint32_t kExtentBlocks = EXT_INIT_MAX_LEN;
constexpr std::size_t kInInode = 4;
constexpr std::size_t kInLeaf = (kBlockSize - sizeof(ext3_extent_header)) / sizeof(ext3_extent);

std::vector<ext3_extent> split_runs(const std::vector<Run>& runs) {
  std::vector<ext3_extent> extents;
  for (Run run : runs) {
    while (run.count > 0) {
      const std::uint32_t length = std::min(run.count, kExtentBlocks);
      extents.push_back({.ee_block = run.logical,
                         .ee_len = static_cast<std::uint16_t>(length),
                         .ee_start_hi = 0,
                         .ee_start = run.physical});
      run.logical += length;
      run.physical += length;
      run.count -= length;
    }
  }
  return extents;
}

// Header and `items` at the start of `into`.
template <class Item>
void put_node(std::span<std::byte> into, std::span<const Item> items, std::uint16_t depth) {
  const ext3_extent_header header{
      .eh_magic = EXT3_EXT_MAGIC,
      .eh_entries = static_cast<std::uint16_t>(items.size()),
      .eh_max = static_cast<std::uint16_t>((into.size() - sizeof(ext3_extent_header)) / sizeof(Item)),
      .eh_depth = depth,
      .eh_generation = 0};
  CR_CHECK(items.size() <= header.eh_max, "{} extents in a node of {}", items.size(), header.eh_max);
  std::memcpy(into.data(), &header, sizeof header);
  if (!items.empty()) std::memcpy(into.data() + sizeof header, items.data(), items.size_bytes());
}

}  // namespace

base::Result<ExtentTree> encode_extents(const std::vector<Run>& runs, BlockFile& blocks) {
  const std::vector<ext3_extent> extents = split_runs(runs);
  ExtentTree tree;
  if (extents.size() <= kInInode) {
    put_node(std::span<std::byte>(tree.area), std::span(extents), 0);
    return tree;
  }
  std::vector<ext3_extent_idx> index;
  for (std::size_t at = 0; at < extents.size(); at += kInLeaf) {
    std::array<std::byte, kBlockSize> leaf{};
    const auto part = std::span(extents).subspan(at, std::min(kInLeaf, extents.size() - at));
    put_node(std::span<std::byte>(leaf), part, 0);
    CR_ASSIGN(const std::uint32_t block, blocks.append(leaf));
    index.push_back({.ei_block = part.front().ee_block, .ei_leaf = block, .ei_leaf_hi = 0, .ei_unused = 0});
  }
  put_node(std::span<std::byte>(tree.area), std::span<const ext3_extent_idx>(index), 1);
  tree.leaf_blocks = static_cast<std::uint32_t>(index.size());
  return tree;
}

}  // namespace cleanroom::image
