#include "src/image/ext4_writer.h"

#include "src/base/os/check.h"
#include "src/base/os/io.h"
#include "src/image/ext4_directory.h"
#include "src/image/ext4_metadata.h"
#include "src/image/ext4_xattr.h"
#include "src/image/name_arena.h"

#include <ext2fs/ext2_fs.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <unordered_map>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr std::uint16_t kMaxLinks = 65000;      // EXT4_LINK_MAX
constexpr std::size_t kReadBytes = 256u << 10;  // a multiple of the block size
constexpr std::uint32_t kShortestHole = 8;      // blocks; shorter runs of zeros are not worth an extent
constexpr std::size_t kLongestSymlink = 4095;
constexpr std::uint32_t kLongestRun = 32768;      // blocks of one extent
constexpr std::uint64_t kKeptBlocks = 64u * 256;  // discarded blocks that keep their bytes at most: 64 MiB

bool is_zero(BlockBytes block) {
  static constexpr std::array<std::byte, kBlockSize> kZeros{};
  return std::memcmp(block.data(), kZeros.data(), block.size()) == 0;
}

// Puts the blocks of one file behind one another, leaving holes for long runs of zeros.
class RunBuilder {
 public:
  explicit RunBuilder(BlockFile& blocks) : blocks_(blocks) {}

  Result<void> add(BlockBytes block) {
    if (is_zero(block)) {
      ++zeros_;
      return {};
    }
    if (zeros_ >= kShortestHole && runs_.size() < kMaxRuns) {
      logical_ += std::exchange(zeros_, 0);
    }
    static constexpr std::array<std::byte, kBlockSize> kZeros{};
    for (; zeros_ > 0; --zeros_)
      CR_TRY(put(kZeros));
    return put(block);
  }
  // Zeros at the end are a hole.
  const std::vector<Run>& runs() const { return runs_; }

 private:
  Result<void> put(BlockBytes block) {
    CR_ASSIGN(const std::uint32_t physical, blocks_.append(block));
    if (!runs_.empty()) {
      Run& last = runs_.back();
      if (last.logical + last.count == logical_ && last.physical + last.count == physical) {
        ++last.count;
        ++logical_;
        return {};
      }
    }
    runs_.push_back({logical_++, physical, 1});
    return {};
  }

  BlockFile& blocks_;
  std::vector<Run> runs_;
  std::uint32_t logical_ = 0;
  std::uint32_t zeros_ = 0;
};

struct Child {
  const char* name;
  std::uint32_t inode;
  std::uint8_t name_length;
  std::uint8_t file_type;
};

struct Directory {
  std::uint32_t inode = 0;
  std::uint32_t parent = 0;
  std::uint32_t subdirectories = 0;
  std::vector<Child> children;
};

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

struct KindBits {
  std::uint16_t mode;
  std::uint8_t file_type;
};

KindBits bits_of(EntryKind kind) {
  switch (kind) {
    case EntryKind::file:
      return {S_IFREG, EXT2_FT_REG_FILE};
    case EntryKind::directory:
      return {S_IFDIR, EXT2_FT_DIR};
    case EntryKind::symlink:
      return {S_IFLNK, EXT2_FT_SYMLINK};
    case EntryKind::char_device:
      return {S_IFCHR, EXT2_FT_CHRDEV};
    case EntryKind::block_device:
      return {S_IFBLK, EXT2_FT_BLKDEV};
    case EntryKind::fifo:
      return {S_IFIFO, EXT2_FT_FIFO};
    case EntryKind::socket:
      return {S_IFSOCK, EXT2_FT_SOCK};
    case EntryKind::hardlink:
      break;
  }
  CR_CHECK(false, "a hardlink has no mode of its own");
  return {};
}

std::uint8_t file_type_of(std::uint16_t mode) {
  for (const EntryKind kind : {EntryKind::file, EntryKind::directory, EntryKind::symlink, EntryKind::char_device,
                               EntryKind::block_device, EntryKind::fifo, EntryKind::socket}) {
    if ((mode & S_IFMT) == bits_of(kind).mode) return bits_of(kind).file_type;
  }
  return EXT2_FT_UNKNOWN;
}

Result<void> check_name(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > 255 || name.find('\0') != std::string_view::npos) {
    return fail(Code::invalid_input, "'" + std::string(name.substr(0, 300)) + "' is not a file name");
  }
  return {};
}

}  // namespace

struct Ext4Writer::State {
  State(BlockFile file, Ext4Options given) : blocks(std::move(file)), options(std::move(given)) {
    inodes.root = {.mode = S_IFDIR | 0755, .links = 2};
    inodes.root.mtime.seconds = options.created_seconds;
    inodes.directories.push_back(kRootInode);
    directories.push_back({.inode = kRootInode, .parent = kRootInode});
    if (options.sync_follows) blocks.write_back_early();
    by_path.emplace("", 0);
  }

  Result<std::uint32_t> add(const TreeEntry& entry, const FileData& data);
  Result<void> fill(InodeRecord& record, const TreeEntry& entry, const FileData& data);
  Result<void> fill_data(InodeRecord& record, ExtraInode& extra, const FileData& data);
  Result<void> fill_symlink(InodeRecord& record, ExtraInode& extra, const std::string& target);
  Result<Directory*> parent_of(const TreeEntry& entry, std::string_view& name);
  Result<void> write_directories();
  void put_extra(InodeRecord& record, ExtraInode extra);
  FileData keep(std::uint64_t size, const std::vector<Run>& runs);

  BlockFile blocks;
  Ext4Options options;
  InodeList inodes;
  std::deque<Directory> directories;  // [0] is the root
  std::unordered_map<std::string, std::size_t, TextHash, std::equal_to<>> by_path;
  std::deque<std::vector<Run>> run_lists;  // FileData::extent_list - 1
  NameArena names;
  std::vector<std::byte> buffer;
  bool finished = false;
};

// The names' bytes outlive the call; directories never move.
Result<Directory*> Ext4Writer::State::parent_of(const TreeEntry& entry, std::string_view& name) {
  const std::string_view path = entry.path;
  const std::size_t slash = path.rfind('/');
  name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  CR_TRY(check_name(name));
  if (path.front() == '/') return fail(Code::invalid_input, fmt::format("cannot add '{}': it is not relative", path));
  const auto found = by_path.find(slash == std::string_view::npos ? std::string_view() : path.substr(0, slash));
  if (found == by_path.end()) {
    return fail(Code::invalid_input, fmt::format("cannot add '{}': its directory was not added before it", entry.path));
  }
  return &directories[found->second];
}

void Ext4Writer::State::put_extra(InodeRecord& record, ExtraInode extra) {
  if (!extra.area && extra.xattr_block == 0 && extra.xattrs_in_inode.empty()) return;
  inodes.extras.push_back(std::move(extra));
  record.extra = static_cast<std::uint32_t>(inodes.extras.size());
}

// One run from the start of a file needs no list.
FileData Ext4Writer::State::keep(std::uint64_t size, const std::vector<Run>& runs) {
  FileData data{.size = size};
  for (const Run& run : runs)
    data.blocks += run.count;
  if (!runs.empty()) data.first_block = runs.front().physical;
  if (runs.size() > 1 || (data.blocks > 0 && runs.front().logical != 0)) {
    run_lists.push_back(runs);
    data.extent_list = static_cast<std::uint32_t>(run_lists.size());
  }
  return data;
}

Result<void> Ext4Writer::State::fill_data(InodeRecord& record, ExtraInode& extra, const FileData& data) {
  record.size = data.size;
  record.blocks = data.blocks;
  record.first_block = data.first_block;
  if (data.extent_list == 0 && data.blocks <= kLongestRun) return {};
  const std::vector<Run> single{{0, data.first_block, data.blocks}};
  const std::vector<Run>& runs = data.extent_list ? run_lists[data.extent_list - 1] : single;
  CR_ASSIGN(const ExtentTree tree, encode_extents(runs, blocks));
  extra.area = tree.area;
  extra.tree_blocks = tree.leaf_blocks;
  return {};
}

Result<void> Ext4Writer::State::fill_symlink(InodeRecord& record, ExtraInode& extra, const std::string& target) {
  if (target.empty() || target.size() > kLongestSymlink || target.find('\0') != std::string::npos) {
    return fail(Code::invalid_input, fmt::format("a symlink target of {} bytes is not possible", target.size()));
  }
  record.size = target.size();
  if (target.size() < kBlockAreaBytes) {
    extra.area.emplace();
    std::memcpy(extra.area->data(), target.data(), target.size());
    return {};
  }
  std::array<std::byte, kBlockSize> block{};
  std::memcpy(block.data(), target.data(), target.size());
  CR_ASSIGN(record.first_block, blocks.append(block));
  record.blocks = 1;
  return {};
}

Result<void> Ext4Writer::State::fill(InodeRecord& record, const TreeEntry& entry, const FileData& data) {
  record.mode = static_cast<std::uint16_t>(bits_of(entry.kind).mode | (entry.mode & 07777));
  record.uid = entry.uid;
  record.gid = entry.gid;
  record.mtime = entry.mtime;
  if (entry.device_major > 0xfff || entry.device_minor > 0xfffff) {
    return fail(Code::invalid_input,
                fmt::format("the device number {}:{} is not possible", entry.device_major, entry.device_minor));
  }
  record.device = entry.device_major << 20 | entry.device_minor;
  ExtraInode extra;
  if (entry.kind == EntryKind::file) CR_TRY(fill_data(record, extra, data));
  if (entry.kind == EntryKind::symlink) CR_TRY(fill_symlink(record, extra, entry.link_target));
  CR_ASSIGN(EncodedXattrs xattrs, encode_xattrs(entry.xattrs));
  extra.xattrs_in_inode = std::move(xattrs.in_inode);
  if (!xattrs.block.empty()) {
    CR_ASSIGN(extra.xattr_block, blocks.append(xattrs.block));
  }
  put_extra(record, std::move(extra));
  return {};
}

Result<std::uint32_t> Ext4Writer::State::add(const TreeEntry& entry, const FileData& data) {
  if (entry.path.empty()) {
    if (entry.kind != EntryKind::directory) return fail(Code::invalid_input, "the root must be a directory");
    const std::uint16_t links = inodes.root.links;
    inodes.root = {.links = links};
    CR_TRY(fill(inodes.root, entry, {}));
    return kRootInode;
  }
  std::string_view name;
  CR_ASSIGN(Directory* const parent, parent_of(entry, name));
  std::uint32_t inode = entry.hardlink_to;
  if (entry.kind == EntryKind::hardlink) {
    if (inode < kFirstInode || inode > inodes.last() || S_ISDIR(inodes.at(inode).mode)) {
      return fail(Code::invalid_input,
                  fmt::format("cannot add '{}': there is no file {} to link to", entry.path, inode));
    }
    if (inodes.at(inode).links >= kMaxLinks) {
      return fail(Code::invalid_input, "image_limit",
                  fmt::format("cannot add '{}': its file has 65000 names", entry.path));
    }
    ++inodes.at(inode).links;
  } else {
    InodeRecord record;
    CR_TRY(fill(record, entry, data));
    inode = inodes.last() + 1;
    if (entry.kind == EntryKind::directory) {
      record.links = 2;
      if (!by_path.emplace(entry.path, directories.size()).second) {
        return fail(Code::already_exists, fmt::format("cannot add '{}': it is there already", entry.path));
      }
      directories.push_back({.inode = inode, .parent = parent->inode});
      inodes.directories.push_back(inode);
      ++parent->subdirectories;
    }
    inodes.others.push_back(record);
  }
  parent->children.push_back(
      {names.keep(name), inode, static_cast<std::uint8_t>(name.size()), file_type_of(inodes.at(inode).mode)});
  return inode;
}

Result<void> Ext4Writer::State::write_directories() {
  const HashSeed seed = identity_from(options.seed).hash_seed;
  for (Directory& directory : directories) {
    std::vector<DirectoryName> entries;
    entries.reserve(directory.children.size());
    for (const Child& child : directory.children) {
      entries.push_back({{child.name, child.name_length}, child.inode, child.file_type});
    }
    directory.children = {};
    CR_ASSIGN(const DirectoryBlocks written, write_directory(entries, directory.inode, directory.parent, seed, blocks));
    InodeRecord& record = inodes.at(directory.inode);
    record.size = std::uint64_t{written.range.count} * kBlockSize;
    record.first_block = written.range.first;
    record.blocks = written.range.count;
    record.hashed_directory = written.hashed;
    // Feature dir_nlink: 1 stands for more than a 16-bit count can hold.
    record.links =
        static_cast<std::uint16_t>(directory.subdirectories + 2 < kMaxLinks ? directory.subdirectories + 2 : 1);
    if (written.range.count > kLongestRun) {
      return fail(Code::invalid_input, "image_limit", "a directory is larger than 128 MiB");
    }
  }
  return {};
}

Ext4Writer::Ext4Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ext4Writer::Ext4Writer(Ext4Writer&&) noexcept = default;
Ext4Writer& Ext4Writer::operator=(Ext4Writer&&) noexcept = default;
Ext4Writer::~Ext4Writer() = default;

Result<Ext4Writer> Ext4Writer::create(base::Fd file, Ext4Options options) {
  if (options.label.size() > 16)
    return fail(Code::invalid_input, fmt::format("the label '{}' is longer than 16 bytes", options.label));
  CR_ASSIGN(const FrontPlan front, plan_front(options));
  // A file that only has its length keeps it: a VMM may know it by that already.
  struct stat status {};
  if (::fstat(file.get(), &status) != 0 || (status.st_blocks != 0 && ::ftruncate(file.get(), 0) != 0))
    return fail(base::errno_error("empty", "the image file"));
  return Ext4Writer(std::make_unique<State>(BlockFile(std::move(file), front.first_data_block, front.block_limit),
                                            std::move(options)));
}

Result<FileData> Ext4Writer::store_data(ContentReader& content, std::uint64_t size) {
  if (size > kMaxFileBytes) {
    return fail(Code::invalid_input, "image_limit", fmt::format("a file of {} bytes is too large", size));
  }
  std::vector<std::byte>& buffer = state_->buffer;
  buffer.resize(kReadBytes);
  RunBuilder builder(state_->blocks);
  for (std::uint64_t done = 0; done < size;) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, size - done));
    for (std::size_t have = 0; have < wanted;) {
      CR_ASSIGN(const std::size_t n, content.read(std::span(buffer).subspan(have, wanted - have)));
      if (n == 0)
        return fail(Code::invalid_input, fmt::format("the content ends after {} of {} bytes", done + have, size));
      have += n;
    }
    const std::size_t padded = (wanted + kBlockSize - 1) / kBlockSize * kBlockSize;
    std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(wanted),
              buffer.begin() + static_cast<std::ptrdiff_t>(padded), std::byte{0});
    for (std::size_t at = 0; at < padded; at += kBlockSize)
      CR_TRY(builder.add(std::span(buffer).subspan(at, kBlockSize)));
    done += wanted;
  }
  return state_->keep(size, builder.runs());
}

void Ext4Writer::discard_data(const FileData& data) {
  // The blocks of a file follow one another whatever holes it has.
  state_->blocks.release({data.first_block, data.blocks});
}

std::uint32_t Ext4Writer::next_block() const {
  return state_->blocks.next();
}

std::vector<Run> Ext4Writer::runs_of(const FileData& data) const {
  if (data.blocks == 0) return {};
  return data.extent_list ? state_->run_lists[data.extent_list - 1]
                          : std::vector<Run>{{0, data.first_block, data.blocks}};
}

Result<std::uint32_t> Ext4Writer::adopt(const base::Fd& source, BlockRange range) {
  return state_->blocks.adopt(source, range);
}

FileData Ext4Writer::file_in(std::uint32_t first_block, std::uint64_t size, std::vector<Run> runs) {
  for (Run& run : runs)
    run.physical += first_block;
  return state_->keep(size, runs);
}

Result<std::uint64_t> Ext4Writer::flush_stored() {
  return state_->blocks.take_checksum();
}

bool Ext4Writer::punches_holes() const {
  const std::uint64_t released = state_->blocks.released_blocks();
  return released > kKeptBlocks || released > (state_->blocks.next() - state_->blocks.first()) / 8;
}

bool Ext4Writer::has_discarded(BlockRange range) const {
  const auto& released = state_->blocks.released();
  return std::any_of(released.begin(), released.end(), [&](const BlockRange& r) {
    return r.first < range.first + range.count && range.first < r.first + r.count;
  });
}

Result<std::uint32_t> Ext4Writer::add_stored(const TreeEntry& entry, const FileData& data) {
  return state_->add(entry, data);
}

Result<std::uint32_t> Ext4Writer::add(const TreeEntry& entry, ContentReader* content) {
  FileData data;
  if (entry.kind == EntryKind::file && entry.size > 0) {
    CR_CHECK(content != nullptr, "a file with a size needs its content");
    CR_ASSIGN(data, store_data(*content, entry.size));
  }
  return state_->add(entry, data);
}

Result<void> Ext4Writer::finish() {
  CR_CHECK(!std::exchange(state_->finished, true), "finish() twice");
  if (punches_holes()) CR_TRY(state_->blocks.punch_released());
  CR_TRY(state_->write_directories());
  return write_metadata(state_->blocks, state_->inodes, state_->options);
}

}  // namespace cleanroom::image
