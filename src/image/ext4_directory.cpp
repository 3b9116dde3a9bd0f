// The hashed form (kernel: fs/ext4/namei.c, "dx_root"): block 0 holds . and .. and then an array of (hash, block) that
// hides in the record of "..". Each leaf is an ordinary directory block with the names whose hash lies from its own
// entry up to the next. When the leaves do not fit into the root's array, one level of index blocks stands between. A
// hash with the lowest bit set says that the leaf before it holds names of the same hash.
#include "src/image/ext4_directory.h"

#include "src/base/os/check.h"

#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <cstring>

namespace cleanroom::image {
namespace {

using Block = std::array<std::byte, kBlockSize>;

constexpr std::size_t kDirentHeader = 8;
constexpr std::size_t kRootEntriesAt = 32;  // after . (12), .. (12) and dx_root_info (8)
constexpr std::size_t kNodeEntriesAt = 8;   // after an unused record that covers the block
constexpr std::size_t kRootLimit = (kBlockSize - kRootEntriesAt) / sizeof(ext2_dx_entry);
constexpr std::size_t kNodeLimit = (kBlockSize - kNodeEntriesAt) / sizeof(ext2_dx_entry);

std::size_t record_bytes(std::size_t name_length) {
  return (kDirentHeader + name_length + 3) & ~std::size_t{3};
}

void put_record(Block& block, std::size_t at, const DirectoryName& entry, std::size_t length) {
  const auto inode = entry.inode;
  const auto rec_len = static_cast<std::uint16_t>(length);
  const auto name_len = static_cast<std::uint8_t>(entry.name.size());
  std::memcpy(block.data() + at, &inode, sizeof inode);
  std::memcpy(block.data() + at + 4, &rec_len, sizeof rec_len);
  std::memcpy(block.data() + at + 6, &name_len, sizeof name_len);
  std::memcpy(block.data() + at + 7, &entry.file_type, 1);
  if (!entry.name.empty()) std::memcpy(block.data() + at + kDirentHeader, entry.name.data(), entry.name.size());
}

// The last record of a block reaches to its end.
void put_records(Block& block, std::span<const DirectoryName> entries) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::size_t length = i + 1 == entries.size() ? kBlockSize - at : record_bytes(entries[i].name.size());
    put_record(block, at, entries[i], length);
    at += length;
  }
}

struct Hashed {
  std::uint32_t hash;
  std::uint32_t minor;
  DirectoryName entry;
};

struct Leaf {
  std::uint32_t hash;
  std::size_t first;
  std::size_t count;
};

base::Result<std::vector<Hashed>> hash_names(const std::vector<DirectoryName>& names, const HashSeed& seed) {
  std::vector<Hashed> hashed;
  hashed.reserve(names.size());
  for (const auto& entry : names) {
    HashSeed copy = seed;
    ext2_dirhash_t hash = 0;
    ext2_dirhash_t minor = 0;
    const auto error = ext2fs_dirhash2(EXT2_HASH_HALF_MD4_UNSIGNED, entry.name.data(),
                                       static_cast<int>(entry.name.size()), nullptr, 0, copy.data(), &hash, &minor);
    CR_CHECK(error == 0, "half MD4 is a known hash");
    hashed.push_back({hash, minor, entry});
  }
  std::stable_sort(hashed.begin(), hashed.end(), [](const Hashed& a, const Hashed& b) {
    return std::pair(a.hash, a.minor) < std::pair(b.hash, b.minor);
  });
  return hashed;
}

std::vector<Leaf> pack_leaves(const std::vector<Hashed>& names) {
  std::vector<Leaf> leaves;
  std::size_t used = kBlockSize;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::size_t need = record_bytes(names[i].entry.name.size());
    if (used + need > kBlockSize) {
      const bool continues = i > 0 && names[i - 1].hash == names[i].hash;
      leaves.push_back({leaves.empty() ? 0 : names[i].hash | (continues ? 1u : 0u), i, 0});
      used = 0;
    }
    used += need;
    ++leaves.back().count;
  }
  return leaves;
}

// (limit, count) stands in place of the first entry's hash.
void put_index(Block& block, std::size_t at, std::size_t limit, std::span<const ext2_dx_entry> entries) {
  CR_CHECK(!entries.empty() && entries.size() <= limit, "{} index entries, limit {}", entries.size(), limit);
  std::memcpy(block.data() + at, entries.data(), entries.size_bytes());
  const ext2_dx_countlimit head{.limit = static_cast<std::uint16_t>(limit),
                                .count = static_cast<std::uint16_t>(entries.size())};
  std::memcpy(block.data() + at, &head, sizeof head);
}

Block make_root(std::uint32_t self, std::uint32_t parent, bool two_levels, std::span<const ext2_dx_entry> entries) {
  Block root{};
  put_record(root, 0, {".", self, EXT2_FT_DIR}, 12);
  put_record(root, 12, {"..", parent, EXT2_FT_DIR}, kBlockSize - 12);
  const ext2_dx_root_info info{.reserved_zero = 0,
                               .hash_version = EXT2_HASH_HALF_MD4,
                               .info_length = 8,
                               .indirect_levels = static_cast<std::uint8_t>(two_levels ? 1 : 0),
                               .unused_flags = 0};
  std::memcpy(root.data() + 24, &info, sizeof info);
  put_index(root, kRootEntriesAt, kRootLimit, entries);
  return root;
}

base::Result<DirectoryBlocks> write_hashed(const std::vector<DirectoryName>& sorted, std::uint32_t self,
                                           std::uint32_t parent, const HashSeed& seed, BlockFile& blocks) {
  CR_ASSIGN(const auto names, hash_names(sorted, seed));
  const auto leaves = pack_leaves(names);
  const bool two_levels = leaves.size() > kRootLimit;
  const std::size_t nodes = two_levels ? (leaves.size() + kNodeLimit - 1) / kNodeLimit : 0;
  if (nodes > kRootLimit) {
    return base::fail(base::Code::invalid_input, "image_limit", "a directory has too many names for its index");
  }
  const auto first_leaf = static_cast<std::uint32_t>(1 + nodes);
  std::vector<ext2_dx_entry> leaf_index;
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    leaf_index.push_back({leaves[i].hash, first_leaf + static_cast<std::uint32_t>(i)});
  }
  std::vector<Block> index_blocks(nodes);
  std::vector<ext2_dx_entry> node_index;
  for (std::size_t n = 0; n < nodes; ++n) {
    const auto part =
        std::span(leaf_index).subspan(n * kNodeLimit, std::min(kNodeLimit, leaves.size() - n * kNodeLimit));
    put_record(index_blocks[n], 0, {"", 0, 0}, kBlockSize);
    put_index(index_blocks[n], kNodeEntriesAt, kNodeLimit, part);
    node_index.push_back({part.front().hash, static_cast<std::uint32_t>(1 + n)});
  }
  CR_ASSIGN(const std::uint32_t first,
            blocks.append(make_root(self, parent, two_levels, two_levels ? node_index : leaf_index)));
  for (const Block& block : index_blocks)
    CR_TRY(blocks.append(block));
  for (const Leaf& leaf : leaves) {
    std::vector<DirectoryName> entries;
    for (std::size_t i = leaf.first; i < leaf.first + leaf.count; ++i)
      entries.push_back(names[i].entry);
    Block block{};
    put_records(block, entries);
    CR_TRY(blocks.append(block));
  }
  return DirectoryBlocks{{first, static_cast<std::uint32_t>(1 + nodes + leaves.size())}, true};
}

}  // namespace

base::Result<DirectoryBlocks> write_directory(std::vector<DirectoryName>& names, std::uint32_t self,
                                              std::uint32_t parent, const HashSeed& seed, BlockFile& blocks) {
  std::sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(names.begin(), names.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != names.end()) {
    return base::fail(base::Code::already_exists,
                      fmt::format("cannot add '{}': the directory has it already", twice->name));
  }
  std::size_t bytes = record_bytes(1) + record_bytes(2);
  for (const auto& entry : names)
    bytes += record_bytes(entry.name.size());
  if (bytes > kBlockSize) return write_hashed(names, self, parent, seed, blocks);
  std::vector<DirectoryName> all{{".", self, EXT2_FT_DIR}, {"..", parent, EXT2_FT_DIR}};
  all.insert(all.end(), names.begin(), names.end());
  Block block{};
  put_records(block, all);
  CR_ASSIGN(const std::uint32_t first, blocks.append(block));
  return DirectoryBlocks{{first, 1}, false};
}

}  // namespace cleanroom::image
