#include "src/image/ext4_metadata.h"

#include "src/base/net/sha256.h"
#include "src/base/os/check.h"
#include "src/base/os/io.h"
#include "src/image/ext4_layout.h"

#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

extern "C" {
#include <et/com_err.h>  // has no C++ guard of its own
}

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr std::uint64_t kLargestFileSystem = 15ull << 40;
constexpr std::uint64_t kDefaultMaxBytes = 1ull << 40;

Result<void> check(errcode_t error, std::string_view attempt) {
  if (error == 0) return {};
  return fail(Code::unavailable, fmt::format("cannot {} the file system: {}", attempt, error_message(error)));
}

struct FreeFs {
  void operator()(ext2_filsys fs) const { ext2fs_free(fs); }
};
using FileSystem = std::unique_ptr<struct_ext2_filsys, FreeFs>;

ext2_super_block parameters(const Layout& layout, const Ext4Options& options) {
  ext2_super_block super{};
  super.s_rev_level = EXT2_DYNAMIC_REV;
  super.s_log_block_size = super.s_log_cluster_size = std::countr_zero(kBlockSize) - 10u;
  super.s_inode_size = kInodeBytes;
  super.s_blocks_count = layout.blocks;
  super.s_blocks_per_group = super.s_clusters_per_group = kBlocksPerGroup;
  super.s_inodes_count = layout.inodes_per_group * layout.groups;
  // All metadata stands together, so all groups are one flex group (at least the usual 16).
  super.s_log_groups_per_flex = static_cast<std::uint8_t>(std::max(4, static_cast<int>(std::bit_width(layout.groups))));
  super.s_min_extra_isize = super.s_want_extra_isize = 32;
  super.s_feature_compat =
      EXT2_FEATURE_COMPAT_DIR_INDEX | EXT2_FEATURE_COMPAT_EXT_ATTR | EXT4_FEATURE_COMPAT_SPARSE_SUPER2;
  super.s_feature_incompat =
      EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_FLEX_BG;
  super.s_feature_ro_compat = EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
                              EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
                              EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE;
  if (options.journal_mib > 0) super.s_feature_compat |= EXT3_FEATURE_COMPAT_HAS_JOURNAL;
  return super;
}

// Opens through a duplicate of the descriptor: libext2fs closes what it is given.
Result<FileSystem> initialise(const base::Fd& file, const Layout& layout, const Ext4Options& options) {
  ext2_super_block super = parameters(layout, options);
  const int copy = ::fcntl(file.get(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return fail(base::errno_error("duplicate", "the image's descriptor"));
  ext2_filsys raw = nullptr;
  CR_TRY(check(ext2fs_initialize(std::to_string(copy).c_str(), EXT2_FLAG_64BITS, &super, unixfd_io_manager, &raw),
               "initialise"));
  FileSystem fs(raw);
  CR_CHECK(ext2fs_blocks_count(fs->super) == layout.blocks && fs->group_desc_count == layout.groups &&
               fs->super->s_inodes_per_group == layout.inodes_per_group,
           "libext2fs chose another layout: {} blocks, {} groups, {} inodes a group", ext2fs_blocks_count(fs->super),
           fs->group_desc_count, fs->super->s_inodes_per_group);
  return fs;
}

void set_identity(ext2_filsys fs, const Ext4Options& options) {
  const Identity identity = identity_from(options.seed);
  ext2_super_block& super = *fs->super;
  std::memcpy(super.s_uuid, identity.uuid.data(), sizeof super.s_uuid);
  std::memcpy(super.s_hash_seed, identity.hash_seed.data(), sizeof super.s_hash_seed);
  std::memcpy(super.s_volume_name, options.label.data(), std::min(options.label.size(), sizeof super.s_volume_name));
  // 0 would mean "now" to libext2fs.
  fs->now = std::max<std::int64_t>(options.created_seconds, 1);
  super.s_mkfs_time = super.s_lastcheck = super.s_wtime = static_cast<std::uint32_t>(fs->now);
  super.s_def_hash_version = EXT2_HASH_HALF_MD4;
  super.s_flags = EXT2_FLAGS_UNSIGNED_HASH;
  super.s_max_mnt_count = -1;
  super.s_checkinterval = 0;
  super.s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
  super.s_backup_bgs[0] = super.s_backup_bgs[1] = 0;
}

// Where blocks are used: the front, data without what was released, and the metadata.
struct Usage {
  std::vector<BlockRange> used;
  std::vector<BlockRange> released;
};

void count_range(std::vector<std::int64_t>& per_group, BlockRange range, int sign) {
  while (range.count > 0) {
    const std::uint32_t group = range.first / kBlocksPerGroup;
    const std::uint32_t part = std::min(range.count, (group + 1) * kBlocksPerGroup - range.first);
    per_group[group] += std::int64_t{sign} * part;
    range.first += part;
    range.count -= part;
  }
}

void set_block_usage(ext2_filsys fs, const Usage& usage, const Layout& layout) {
  std::vector<std::int64_t> used(layout.groups);
  std::vector<bool> touched(layout.groups);
  for (const BlockRange& range : usage.used) {
    ext2fs_mark_block_bitmap_range2(fs->block_map, range.first, range.count);
    count_range(used, range, 1);
    for (std::uint32_t g = range.first / kBlocksPerGroup; g <= (range.first + range.count - 1) / kBlocksPerGroup; ++g) {
      touched[g] = true;
    }
  }
  for (const BlockRange& range : usage.released) {
    ext2fs_unmark_block_bitmap_range2(fs->block_map, range.first, range.count);
    count_range(used, range, -1);
  }
  std::uint64_t free_blocks = 0;
  for (std::uint32_t g = 0; g < layout.groups; ++g) {
    const auto size =
        std::min<std::int64_t>(kBlocksPerGroup, std::int64_t{layout.blocks} - std::int64_t{g} * kBlocksPerGroup);
    ext2fs_bg_free_blocks_count_set(fs, g, static_cast<std::uint32_t>(size - used[g]));
    free_blocks += static_cast<std::uint64_t>(size - used[g]);
    // The bitmap of the last group has padding that must be on disk.
    if (touched[g] || g + 1 == layout.groups)
      ext2fs_bg_flags_clear(fs, g, EXT2_BG_BLOCK_UNINIT);
    else
      ext2fs_bg_flags_set(fs, g, EXT2_BG_BLOCK_UNINIT);
  }
  ext2fs_free_blocks_count_set(fs->super, free_blocks);
}

void set_inode_usage(ext2_filsys fs, const InodeList& inodes, const Layout& layout) {
  for (std::uint32_t ino = 1; ino <= inodes.last(); ++ino)
    ext2fs_mark_inode_bitmap2(fs->inode_map, ino);
  std::vector<std::uint32_t> directories(layout.groups);
  for (const std::uint32_t ino : inodes.directories)
    ++directories[(ino - 1) / layout.inodes_per_group];
  for (std::uint32_t g = 0; g < layout.groups; ++g) {
    const std::uint64_t before = std::uint64_t{g} * layout.inodes_per_group;
    const auto used = static_cast<std::uint32_t>(std::clamp<std::int64_t>(
        static_cast<std::int64_t>(inodes.last()) - static_cast<std::int64_t>(before), 0, layout.inodes_per_group));
    ext2fs_bg_free_inodes_count_set(fs, g, layout.inodes_per_group - used);
    ext2fs_bg_itable_unused_set(fs, g, layout.inodes_per_group - used);
    ext2fs_bg_used_dirs_count_set(fs, g, directories[g]);
    if (used > 0)
      ext2fs_bg_flags_clear(fs, g, EXT2_BG_INODE_UNINIT);
    else
      ext2fs_bg_flags_set(fs, g, EXT2_BG_INODE_UNINIT);
    // The file is sparse: unused tables read as zero already, so the guest need not zero them in the background.
    ext2fs_bg_flags_set(fs, g, EXT2_BG_INODE_ZEROED);
  }
  fs->super->s_free_inodes_count = layout.groups * layout.inodes_per_group - inodes.last();
}

// Inode tables follow one another, so inode n stands at (n - 1) * 256 of the whole.
Result<void> write_inode_tables(BlockFile& blocks, std::uint32_t first_block, const InodeList& inodes,
                                const InodeRecord& journal, const ExtraInode* journal_extra) {
  constexpr std::size_t kChunk = 1u << 20;
  std::vector<std::byte> chunk;
  chunk.reserve(kChunk);
  std::uint32_t at = first_block;
  for (std::uint32_t ino = 1; ino <= inodes.last(); ++ino) {
    chunk.resize(chunk.size() + kInodeBytes);
    const std::span<std::byte, kInodeBytes> slot(chunk.data() + chunk.size() - kInodeBytes, kInodeBytes);
    if (ino == kRootInode || ino >= kFirstInode) {
      const InodeRecord& record = inodes.at(ino);
      encode_inode(record, record.extra ? &inodes.extras[record.extra - 1] : nullptr, slot);
    } else if (ino == kJournalInode && journal.mode != 0) {
      encode_inode(journal, journal_extra, slot);
    }
    if (chunk.size() == kChunk || ino == inodes.last()) {
      CR_TRY(blocks.write_at(at, chunk));
      at += static_cast<std::uint32_t>(chunk.size() / kBlockSize);
      chunk.clear();
    }
  }
  return {};
}

struct Journal {
  InodeRecord record;  // mode 0 = none
  ExtraInode extra;
  std::uint32_t first_block = 0;
  std::uint32_t blocks = 0;
};

Result<Journal> reserve_journal(BlockFile& blocks, const Ext4Options& options) {
  Journal journal;
  if (options.journal_mib == 0) return journal;
  journal.blocks = options.journal_mib * ((1u << 20) / kBlockSize);
  CR_ASSIGN(journal.first_block, blocks.reserve(journal.blocks));
  CR_ASSIGN(const ExtentTree tree, encode_extents({{0, journal.first_block, journal.blocks}}, blocks));
  journal.extra.area = tree.area;
  journal.extra.tree_blocks = tree.leaf_blocks;
  journal.record = {
      .mode = S_IFREG | 0600, .size = std::uint64_t{journal.blocks} * kBlockSize, .blocks = journal.blocks};
  journal.record.mtime.seconds = std::max<std::int64_t>(options.created_seconds, 1);
  return journal;
}

Result<void> write_journal_superblock(ext2_filsys fs, BlockFile& blocks, const Journal& journal) {
  if (journal.blocks == 0) return {};
  char* raw = nullptr;
  CR_TRY(check(ext2fs_create_journal_superblock(fs, journal.blocks, 0, &raw), "make a journal for"));
  const std::unique_ptr<char, decltype([](char* p) { ext2fs_free_mem(&p); })> block(raw);
  CR_TRY(blocks.write_at(journal.first_block, base::as_bytes({raw, kBlockSize})));
  fs->super->s_journal_inum = kJournalInode;
  fs->super->s_jnl_backup_type = EXT3_JNL_BACKUP_BLOCKS;
  std::memcpy(fs->super->s_jnl_blocks, journal.extra.area->data(), kBlockAreaBytes);
  fs->super->s_jnl_blocks[15] = static_cast<std::uint32_t>(journal.record.size >> 32);
  fs->super->s_jnl_blocks[16] = static_cast<std::uint32_t>(journal.record.size);
  return {};
}

}  // namespace

Identity identity_from(const std::string& seed) {
  Identity identity;
  const std::string uuid = base::sha256_hex("uuid:" + seed);
  const std::string hash = base::sha256_hex("hash:" + seed);
  for (std::size_t i = 0; i < identity.uuid.size(); ++i) {
    identity.uuid[i] = static_cast<std::uint8_t>(std::stoul(uuid.substr(2 * i, 2), nullptr, 16));
  }
  identity.uuid[6] = static_cast<std::uint8_t>((identity.uuid[6] & 0x0f) | 0x80);  // RFC 9562: version 8, variant 10
  identity.uuid[8] = static_cast<std::uint8_t>((identity.uuid[8] & 0x3f) | 0x80);
  for (std::size_t i = 0; i < identity.hash_seed.size(); ++i) {
    identity.hash_seed[i] = static_cast<std::uint32_t>(std::stoul(hash.substr(8 * i, 8), nullptr, 16));
  }
  return identity;
}

Result<FrontPlan> plan_front(const Ext4Options& options) {
  // Data may end just below the limit, and inode tables come on top of it.
  const std::uint64_t data_limit = options.max_bytes ? options.max_bytes : kDefaultMaxBytes;
  const std::uint64_t bytes = options.size_bytes ? options.size_bytes : data_limit * 2 + options.free_bytes;
  if (bytes > kLargestFileSystem) {
    return fail(Code::invalid_input, "image_limit",
                fmt::format("cannot make a file system of {} bytes: the limit is 15 TiB", bytes));
  }
  const std::uint64_t groups = bytes / kBlockSize / kBlocksPerGroup + 2;
  FrontPlan plan;
  plan.first_data_block = 1 + descriptor_blocks(groups);
  plan.block_limit = static_cast<std::uint32_t>((options.size_bytes ? bytes : data_limit) / kBlockSize);
  return plan;
}

Result<void> write_metadata(BlockFile& blocks, const InodeList& inodes, const Ext4Options& options) {
  CR_ASSIGN(const Journal journal, reserve_journal(blocks, options));
  CR_TRY(blocks.flush());
  const std::uint32_t data_end = blocks.next();
  CR_ASSIGN(const Layout layout, plan_layout(options, data_end, inodes.last()));
  if (::ftruncate(blocks.fd().get(), static_cast<off_t>(layout.blocks) * kBlockSize) != 0) {
    return fail(base::errno_error("set the length of", "the image"));
  }
  CR_ASSIGN(const FileSystem fs, initialise(blocks.fd(), layout, options));
  set_identity(fs.get(), options);

  blocks.set_limit(layout.blocks);
  CR_ASSIGN(const std::uint32_t metadata, blocks.reserve(layout.metadata_blocks()));
  const std::uint32_t tables = metadata + 2 * layout.groups;
  for (std::uint32_t g = 0; g < layout.groups; ++g) {
    ext2fs_block_bitmap_loc_set(fs.get(), g, metadata + g);
    ext2fs_inode_bitmap_loc_set(fs.get(), g, metadata + layout.groups + g);
    ext2fs_inode_table_loc_set(fs.get(), g, tables + g * layout.table_blocks);
  }
  const std::uint32_t front = 1 + static_cast<std::uint32_t>(fs->desc_blocks);
  CR_CHECK(front <= blocks.first(), "{} blocks of descriptors do not fit before block {}", front, blocks.first());
  set_block_usage(fs.get(), {{{0, front}, {blocks.first(), blocks.next() - blocks.first()}}, blocks.released()},
                  layout);
  set_inode_usage(fs.get(), inodes, layout);
  CR_TRY(write_inode_tables(blocks, tables, inodes, journal.record, &journal.extra));
  CR_TRY(write_journal_superblock(fs.get(), blocks, journal));
  for (std::uint32_t g = 0; g < layout.groups; ++g)
    ext2fs_group_desc_csum_set(fs.get(), g);
  ext2fs_mark_super_dirty(fs.get());
  ext2fs_mark_bb_dirty(fs.get());
  ext2fs_mark_ib_dirty(fs.get());
  return check(ext2fs_flush2(fs.get(), EXT2_FLAG_FLUSH_NO_SYNC), "write");
}

}  // namespace cleanroom::image
