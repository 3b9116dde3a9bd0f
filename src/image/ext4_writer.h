#pragma once
// Ext4Writer: makes an ext4 file system in a regular file from a stream of entries, in one pass, without root, mount or
// a temporary tree. The same entries in the same order with the same options give the same bytes.
//
// Layout: superblock and group descriptors first, then file data in the order it arrives (long sequential writes, one
// extent a file as a rule), then directories, and the bitmaps and inode tables last (flex_bg lets them stand anywhere),
// when their sizes are known. So nothing has to be estimated. libext2fs makes superblock, bitmaps, descriptors, journal
// superblock and directory hashes; uninitialised groups are never written, so a scratch disk takes milliseconds.
// Features: extents, dir_index, filetype, flex_bg, sparse_super2 without backups, uninit_bg (no metadata_csum: the
// guest would pay for it on every read), 256-byte inodes, 4 KiB blocks, no lost+found.
//
// Limits: one file 95 GiB, one entry's xattrs 4 KiB together, 65000 names a file, file system below 15 TiB.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/image/ext4_extents.h"
#include "src/image/tree_entry.h"

#include <cstdint>
#include <memory>
#include <string>

namespace cleanroom::image {

struct Ext4Options {
  // Logical size of the file system; 0 = what the entries need plus free_bytes. The file is sparse: free space costs
  // nothing.
  std::uint64_t size_bytes = 0;
  std::uint64_t free_bytes = 0;   // with size_bytes == 0
  std::uint64_t max_bytes = 0;    // more data than this is `image_limit`; 0 = no limit but size_bytes
  std::uint64_t free_inodes = 0;  // at least this many inodes stay free; with size_bytes also one for each 16 KiB
  std::uint32_t journal_mib = 0;  // 0 = no journal: right for read-only images and for disks that live as long as a VM
  std::string label;              // at most 16 bytes
  std::string seed;               // UUID and directory hash seed are derived from this text alone
  std::int64_t created_seconds = 0;  // the times in the superblock
  bool sync_follows = false;         // the caller will sync the file: data goes to the disk while more arrives
};

// The blocks of a file that is not (or not yet) part of the tree. A handle, cheap to copy; good for one add().
struct FileData {
  std::uint64_t size = 0;
  std::uint32_t first_block = 0;
  std::uint32_t blocks = 0;       // without holes
  std::uint32_t extent_list = 0;  // 0 = one run from the start of the file; else which list of the writer
};

class Ext4Writer {
 public:
  // `file` is an open regular file (O_RDWR); its content is dropped. The caller keeps its name, removes it on failure
  // and syncs it after finish(). Blocks on disk I/O, as do all calls here. A writer that failed must be thrown away.
  static base::Result<Ext4Writer> create(base::Fd file, Ext4Options options);
  Ext4Writer(Ext4Writer&&) noexcept;
  Ext4Writer& operator=(Ext4Writer&&) noexcept;
  ~Ext4Writer();

  // Adds one entry and returns its inode number. Parents come before their children (invalid_input else); the root may
  // be given (path "") at any time or left as root:root 0755. `content` gives exactly entry.size bytes of a regular
  // file and may be null for others. Adding a path twice is found at finish().
  base::Result<std::uint32_t> add(const TreeEntry& entry, ContentReader* content = nullptr);

  // In two steps, for a caller that sees bytes before it knows the final tree: store_data() now; add_stored() or
  // discard_data() later. Discarded blocks are free in the file system; in the file they keep their bytes while they
  // are few (punches_holes()).
  base::Result<FileData> store_data(ContentReader& content, std::uint64_t size);
  void discard_data(const FileData& data);
  base::Result<std::uint32_t> add_stored(const TreeEntry& entry, const FileData& data);

  // For a caller that has the same bytes in another file system of this writer already. What is stored stands in one
  // range; adopt() takes such a range over, and file_in() makes data of a part of it, where `runs` is relative to it.
  std::uint32_t next_block() const;  // where the next byte would be stored
  std::vector<Run> runs_of(const FileData& data) const;
  base::Result<std::uint32_t> adopt(const base::Fd& source, BlockRange range);  // returns the first block
  FileData file_in(std::uint32_t first_block, std::uint64_t size, std::vector<Run> runs);

  // Hands all that was stored to the kernel. The checksum of what was stored, not adopted, since the last call.
  base::Result<std::uint64_t> flush_stored();

  // Whether finish() makes holes of discarded blocks: when they are more than 64 MiB, or an eighth of all.
  bool punches_holes() const;
  bool has_discarded(BlockRange range) const;

  // Writes directories and all metadata. Nothing is synced.
  base::Result<void> finish();

 private:
  struct State;
  explicit Ext4Writer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cleanroom::image
