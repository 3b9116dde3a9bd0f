#include "tests/unit/image/ext4_reader.h"

#include "src/base/net/sha256.h"

#include <ext2fs/ext2fs.h>
#include <sys/stat.h>

#include <cstring>
#include <stdexcept>
#include <vector>

extern "C" {
#include <et/com_err.h>  // has no C++ guard of its own
}

namespace cleanroom::image::testing {
namespace {

void check(errcode_t error, const std::string& what) {
  if (error != 0) throw std::runtime_error(what + ": " + error_message(error));
}

class Image {
 public:
  explicit Image(const std::filesystem::path& path) {
    check(ext2fs_open(path.c_str(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs_), "open");
  }
  ~Image() { ext2fs_close_free(&fs_); }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  std::string content(ext2_ino_t ino, std::uint64_t size) {
    ext2_file_t file = nullptr;
    check(ext2fs_file_open(fs_, ino, 0, &file), "open file");
    std::string text(size, '\0');
    std::uint64_t done = 0;
    while (done < size) {
      unsigned got = 0;
      const auto want = static_cast<unsigned>(std::min<std::uint64_t>(size - done, 1u << 20));
      check(ext2fs_file_read(file, text.data() + done, want, &got), "read file");
      if (got == 0) throw std::runtime_error("short file");
      done += got;
    }
    ext2fs_file_close(file);
    return text;
  }

  std::map<std::string, std::string> xattrs(ext2_ino_t ino) {
    std::map<std::string, std::string> found;
    ext2_xattr_handle* handle = nullptr;
    check(ext2fs_xattrs_open(fs_, ino, &handle), "open xattrs");
    check(ext2fs_xattrs_read(handle), "read xattrs");
    check(ext2fs_xattrs_iterate(
              handle,
              [](char* name, char* value, size_t length, void* into) {
                (*static_cast<std::map<std::string, std::string>*>(into))[name] = std::string(value, length);
                return 0;
              },
              &found),
          "list xattrs");
    for (auto& [name, value] : found) {  // get() gives ACLs in the form of getxattr(2)
      void* raw = nullptr;
      std::size_t length = 0;
      check(ext2fs_xattr_get(handle, name.c_str(), &raw, &length), "read xattr");
      value.assign(static_cast<const char*>(raw), length);
      ext2fs_free_mem(&raw);
    }
    ext2fs_xattrs_close(&handle);
    return found;
  }

  ReadEntry entry(ext2_ino_t ino) {
    ext2_inode_large inode{};
    check(ext2fs_read_inode_full(fs_, ino, reinterpret_cast<ext2_inode*>(&inode), sizeof inode), "read inode");
    ReadEntry e{.inode = ino, .mode = inode.i_mode, .links = inode.i_links_count};
    e.uid = inode.i_uid | static_cast<std::uint32_t>(inode.osd2.linux2.l_i_uid_high) << 16;
    e.gid = inode.i_gid | static_cast<std::uint32_t>(inode.osd2.linux2.l_i_gid_high) << 16;
    e.mtime = static_cast<std::int32_t>(inode.i_mtime) + (static_cast<std::int64_t>(inode.i_mtime_extra & 3) << 32);
    e.mtime_ns = inode.i_mtime_extra >> 2;
    e.size = inode.i_size | static_cast<std::uint64_t>(inode.i_size_high) << 32;
    e.sectors = inode.i_blocks;
    e.xattrs = xattrs(ino);
    if (S_ISREG(inode.i_mode)) e.content_sha256 = base::sha256_hex(content(ino, e.size));
    if (S_ISLNK(inode.i_mode)) {
      if (ext2fs_is_fast_symlink(reinterpret_cast<ext2_inode*>(&inode)))
        e.target.assign(reinterpret_cast<const char*>(inode.i_block), e.size);
      else
        e.target = content(ino, e.size);
    }
    if (S_ISCHR(inode.i_mode) || S_ISBLK(inode.i_mode)) {
      const std::uint32_t old = inode.i_block[0];
      const std::uint32_t fresh = inode.i_block[1];
      e.device_major = old ? old >> 8 & 0xff : fresh >> 8 & 0xfff;
      e.device_minor = old ? old & 0xff : (fresh & 0xff) | (fresh >> 12 & 0xfff00);
    }
    return e;
  }

  std::vector<std::pair<std::string, ext2_ino_t>> children(ext2_ino_t ino) {
    std::vector<std::pair<std::string, ext2_ino_t>> found;
    check(ext2fs_dir_iterate2(
              fs_, ino, 0, nullptr,
              [](ext2_ino_t, int entry, ext2_dir_entry* d, int, int, char*, void* into) {
                if (entry == DIRENT_OTHER_FILE) {
                  static_cast<std::vector<std::pair<std::string, ext2_ino_t>>*>(into)->emplace_back(
                      std::string(d->name, static_cast<std::size_t>(ext2fs_dirent_name_len(d))), d->inode);
                }
                return 0;
              },
              &found),
          "list directory");
    return found;
  }

  void walk(ext2_ino_t ino, const std::string& path, std::map<std::string, ReadEntry>& into) {
    const ReadEntry found = entry(ino);
    if (!into.emplace(path, found).second) throw std::runtime_error("twice: " + path);
    if (!S_ISDIR(found.mode)) return;
    for (const auto& [name, child] : children(ino))
      walk(child, path.empty() ? name : path + "/" + name, into);
  }

  ext2_filsys fs_ = nullptr;
};

}  // namespace

std::map<std::string, ReadEntry> read_ext4(const std::filesystem::path& image) {
  Image opened(image);
  std::map<std::string, ReadEntry> entries;
  opened.walk(EXT2_ROOT_INO, "", entries);
  return entries;
}

std::string read_ext4_file(const std::filesystem::path& image, const std::string& path) {
  Image opened(image);
  ext2_ino_t ino = 0;
  check(ext2fs_namei(opened.fs_, EXT2_ROOT_INO, EXT2_ROOT_INO, path.c_str(), &ino), path);
  return opened.content(ino, opened.entry(ino).size);
}

}  // namespace cleanroom::image::testing
