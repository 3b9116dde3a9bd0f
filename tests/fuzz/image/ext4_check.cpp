#include "tests/fuzz/image/ext4_check.h"

#include "tests/fuzz/support.h"

#include <ext2fs/ext2fs.h>
#include <sys/stat.h>

#include <map>
#include <vector>

namespace cleanroom::fuzz {
namespace {

class Check {
 public:
  explicit Check(const std::filesystem::path& image) {
    FUZZ_CHECK(ext2fs_open(image.c_str(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs_) == 0);
    FUZZ_CHECK(ext2fs_read_bitmaps(fs_) == 0);
    used_.resize(ext2fs_blocks_count(fs_->super));
  }
  ~Check() { ext2fs_close_free(&fs_); }
  Check(const Check&) = delete;
  Check& operator=(const Check&) = delete;

  void run() {
    for (dgrp_t group = 0; group < fs_->group_desc_count; ++group)
      take_metadata(group);
    for (ext2_ino_t ino = 1; ino <= fs_->super->s_inodes_count; ++ino)
      take_inode(ino);
    check_groups();
    check_names();
  }

 private:
  void use(blk64_t block) {
    FUZZ_CHECK(block < used_.size() && block >= fs_->super->s_first_data_block);
    FUZZ_CHECK(!used_[block]);
    used_[block] = true;
  }

  void take_metadata(dgrp_t group) {
    FUZZ_CHECK(ext2fs_group_desc_csum_verify(fs_, group));
    blk64_t super = 0, old_table = 0, new_table = 0;
    blk_t table_blocks = 0;
    ext2fs_super_and_bgd_loc2(fs_, group, &super, &old_table, &new_table, &table_blocks);
    if (super != 0 || group == 0) use(super);
    for (blk64_t i = 0; old_table != 0 && i < fs_->desc_blocks + fs_->super->s_reserved_gdt_blocks; ++i)
      use(old_table + i);
    if (new_table != 0) use(new_table);
    use(ext2fs_block_bitmap_loc(fs_, group));
    use(ext2fs_inode_bitmap_loc(fs_, group));
    for (blk64_t i = 0; i < fs_->inode_blocks_per_group; ++i)
      use(ext2fs_inode_table_loc(fs_, group) + i);
  }

  bool is_in_use(ext2_ino_t ino) const { return ext2fs_test_inode_bitmap2(fs_->inode_map, ino) != 0; }

  void take_inode(ext2_ino_t ino) {
    const dgrp_t group = ext2fs_group_of_ino(fs_, ino);
    const auto place = (ino - 1) % fs_->super->s_inodes_per_group;
    const bool in_table = place < fs_->super->s_inodes_per_group - ext2fs_bg_itable_unused(fs_, group);
    const bool is_reserved = ino < EXT2_FIRST_INODE(fs_->super);
    FUZZ_CHECK(!is_in_use(ino) || in_table);
    if (is_reserved) FUZZ_CHECK(is_in_use(ino));
    if (!in_table) return;
    ext2_inode inode{};
    FUZZ_CHECK(ext2fs_read_inode(fs_, ino, &inode) == 0);
    FUZZ_CHECK(is_reserved || is_in_use(ino) == (inode.i_links_count > 0));
    if (inode.i_links_count == 0) return;
    links_[ino] = inode.i_links_count;
    if (S_ISDIR(inode.i_mode)) ++directories_[group];
    Blocks blocks{this, 0};
    if (ext2fs_inode_has_valid_blocks2(fs_, &inode)) {
      FUZZ_CHECK(ext2fs_block_iterate3(fs_, ino, BLOCK_FLAG_READ_ONLY, nullptr, on_block, &blocks) == 0);
    }
    if (inode.i_file_acl != 0) {
      use(inode.i_file_acl);
      ++blocks.count;
    }
    FUZZ_CHECK(inode.i_blocks == blocks.count * 8);
  }

  struct Blocks {
    Check* check;
    std::uint64_t count;
  };
  static int on_block(ext2_filsys, blk64_t* block, e2_blkcnt_t, blk64_t, int, void* into) {
    auto& blocks = *static_cast<Blocks*>(into);
    blocks.check->use(*block);
    ++blocks.count;
    return 0;
  }

  void check_groups() {
    std::uint64_t free_blocks = 0;
    std::uint64_t free_inodes = 0;
    for (dgrp_t group = 0; group < fs_->group_desc_count; ++group) {
      std::uint64_t blocks = 0;
      std::uint64_t inodes = 0;
      for (blk64_t b = ext2fs_group_first_block2(fs_, group); b <= ext2fs_group_last_block2(fs_, group); ++b) {
        FUZZ_CHECK(used_[b] == (ext2fs_test_block_bitmap2(fs_->block_map, b) != 0));
        blocks += !used_[b];
      }
      const ext2_ino_t first = group * fs_->super->s_inodes_per_group + 1;
      for (ext2_ino_t ino = first; ino < first + fs_->super->s_inodes_per_group; ++ino)
        inodes += !is_in_use(ino);
      FUZZ_CHECK(ext2fs_bg_free_blocks_count(fs_, group) == blocks);
      FUZZ_CHECK(ext2fs_bg_free_inodes_count(fs_, group) == inodes);
      FUZZ_CHECK(ext2fs_bg_used_dirs_count(fs_, group) == directories_[group]);
      free_blocks += blocks;
      free_inodes += inodes;
    }
    FUZZ_CHECK(ext2fs_free_blocks_count(fs_->super) == free_blocks);
    FUZZ_CHECK(fs_->super->s_free_inodes_count == free_inodes);
  }

  // Every name counts, '.' and '..' too.
  void check_names() {
    std::map<ext2_ino_t, std::uint32_t> names;
    for (const auto& [ino, links] : links_) {
      if (ext2fs_check_directory(fs_, ino) != 0) continue;
      const int flags = DIRENT_FLAG_INCLUDE_EMPTY;
      FUZZ_CHECK(ext2fs_dir_iterate2(fs_, ino, flags, nullptr, on_name, &names) == 0);
    }
    for (const auto& [ino, links] : links_) {
      if (ino == EXT2_JOURNAL_INO) continue;
      FUZZ_CHECK(names[ino] == links);
      names.erase(ino);
    }
    names.erase(0);
    FUZZ_CHECK(names.empty());
  }
  static int on_name(ext2_ino_t, int, ext2_dir_entry* entry, int, int, char*, void* into) {
    ++(*static_cast<std::map<ext2_ino_t, std::uint32_t>*>(into))[entry->inode];
    return 0;
  }

  ext2_filsys fs_ = nullptr;
  std::vector<bool> used_;
  std::map<ext2_ino_t, std::uint32_t> links_;
  std::map<dgrp_t, std::uint32_t> directories_;
};

}  // namespace

void check_ext4(const std::filesystem::path& image) {
  Check(image).run();
}

}  // namespace cleanroom::fuzz
