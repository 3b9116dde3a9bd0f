// F11. A tar is read the same however its bytes arrive. Whatever it holds, the tree that ImageTree makes of it as two
// layers has no path that leads out of it. Where TarReader and libarchive both take an archive, they find the same
// members with the same content, but for what follows here; and an error names nothing in a way that moves a cursor.
//
// Differences that are meant: libarchive turns pax names into NFC and stumbles over those that are not UTF-8 (names
// with other bytes than ASCII are not compared); it reads on with LIBARCHIVE.*, SUN.*, SCHILY.* records of which we
// know SCHILY.xattr alone (archives with the others are not compared); it takes an empty pax path as none, and has no
// word for a hardlink whose target stands in a long header alone.
//
// An input that starts with a zero byte is a list of choices, any other is an archive in the form that unroll() takes,
// whose checksums are mended.
#include "src/image/image_tree.h"
#include "tests/fuzz/image/memory_source.h"
#include "tests/fuzz/image/recorder.h"
#include "tests/fuzz/image/tar_maker.h"

#include <archive.h>
#include <archive_entry.h>

#include <clocale>
#include <map>
#include <optional>

using namespace cleanroom;
using image::EntryKind;

namespace {

constexpr std::size_t kMostPlainBytes = 64u << 10;

struct Member {
  image::TarMember head;
  std::string content;
};

struct Archive {
  std::vector<Member> members;
  std::optional<base::Error> error;
};

Archive read_with(std::string_view tar, fuzz::Cut cut) {
  fuzz::MemorySource source(tar, cut);
  image::TarReader reader(source);
  Archive archive;
  for (;;) {
    Member member;
    const auto more = reader.next(member.head);
    if (!more) archive.error = more.error();
    if (!more || !*more) break;
    FUZZ_CHECK(member.head.data_offset % 512 == 0 && member.head.data_offset <= tar.size() + 1024);
    std::byte buffer[700];
    for (;;) {
      const auto got = reader.read(buffer);
      if (!got) archive.error = got.error();
      if (!got || *got == 0) break;
      member.content.append(reinterpret_cast<const char*>(buffer), *got);
    }
    if (archive.error) break;
    FUZZ_CHECK(member.content.size() == member.head.size);
    FUZZ_CHECK(member.content == tar.substr(member.head.data_offset, member.head.size));
    archive.members.push_back(std::move(member));
    FUZZ_CHECK(archive.members.size() <= tar.size() / 512);
  }
  if (archive.error) fuzz::check_image_error(*archive.error);
  return archive;
}

bool same_member(const Member& a, const Member& b) {
  const auto& x = a.head;
  const auto& y = b.head;
  const auto same_xattr = [](const auto& p, const auto& q) { return p.name == q.name && p.value == q.value; };
  return x.name == y.name && x.kind == y.kind && x.mode == y.mode && x.uid == y.uid && x.gid == y.gid &&
         x.mtime == y.mtime && x.size == y.size && x.link_name == y.link_name && x.data_offset == y.data_offset &&
         x.device_major == y.device_major && x.device_minor == y.device_minor && a.content == b.content &&
         std::equal(x.xattrs.begin(), x.xattrs.end(), y.xattrs.begin(), y.xattrs.end(), same_xattr);
}

// "./a//b/" and "/a/b" name the same file of an image.
std::string plain(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") out.append("/").append(part);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return out;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) > 0; });
}

unsigned file_type(EntryKind kind) {
  switch (kind) {
    case EntryKind::file:
    case EntryKind::hardlink:
      return AE_IFREG;
    case EntryKind::directory:
      return AE_IFDIR;
    case EntryKind::symlink:
      return AE_IFLNK;
    case EntryKind::char_device:
      return AE_IFCHR;
    case EntryKind::block_device:
      return AE_IFBLK;
    case EntryKind::fifo:
      return AE_IFIFO;
    case EntryKind::socket:
      return AE_IFSOCK;
  }
  return 0;
}

struct FreeArchive {
  void operator()(archive* a) const { archive_read_free(a); }
};

// What libarchive says of its members, as far as it is asked: each is held against ours at once.
void compare(std::string_view tar, const std::vector<Member>& ours) {
  const std::unique_ptr<archive, FreeArchive> holder(archive_read_new());
  archive* const a = holder.get();
  archive_read_support_format_tar(a);
  if (archive_read_open_memory(a, tar.data(), tar.size()) != ARCHIVE_OK) return;
  struct Theirs {
    std::string name, link, content;
    bool is_hardlink;
    std::int64_t size, uid, gid, mtime;
    unsigned type, mode;
    long nanoseconds;
    std::map<std::string, std::string> xattrs;
  };
  std::vector<Theirs> theirs;
  archive_entry* entry = nullptr;
  for (;;) {
    const int result = archive_read_next_header(a, &entry);
    if (result == ARCHIVE_EOF) break;
    if (result != ARCHIVE_OK) return;  // refused, or taken with a complaint about its character set
    const auto text = [](const char* value) { return std::string(value ? value : ""); };
    const bool hard = archive_entry_hardlink(entry) != nullptr;
    Theirs member{text(archive_entry_pathname(entry)),
                  text(hard ? archive_entry_hardlink(entry) : archive_entry_symlink(entry)),
                  {},
                  hard,
                  archive_entry_size(entry),
                  archive_entry_uid(entry),
                  archive_entry_gid(entry),
                  archive_entry_mtime(entry),
                  archive_entry_filetype(entry),
                  archive_entry_perm(entry),
                  archive_entry_mtime_nsec(entry),
                  {}};
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
      member.xattrs.emplace(name, std::string(static_cast<const char*>(value), size));
    la_ssize_t got = 0;
    char buffer[4096];
    while ((got = archive_read_data(a, buffer, sizeof buffer)) > 0)
      member.content.append(buffer, static_cast<std::size_t>(got));
    if (got < 0) return;
    theirs.push_back(std::move(member));
  }
  FUZZ_CHECK(theirs.size() == ours.size());
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const auto& x = ours[i].head;
    const auto& y = theirs[i];
    if (!x.name.empty() && is_ascii(x.name)) FUZZ_CHECK(plain(x.name) == plain(y.name));
    if (x.kind == EntryKind::hardlink && x.link_name.empty()) continue;  // ImageTree refuses it
    // libarchive has no word for a hardlink whose name stands in a long header alone.
    if (x.kind == EntryKind::hardlink && tar[x.data_offset - 512 + 157] == '\0') continue;
    FUZZ_CHECK(y.is_hardlink == (x.kind == EntryKind::hardlink));
    if (x.kind != EntryKind::hardlink) FUZZ_CHECK(y.type == file_type(x.kind));
    const bool has_link = !x.link_name.empty() && (y.is_hardlink || x.kind == EntryKind::symlink);
    if (has_link && is_ascii(x.link_name)) FUZZ_CHECK(x.link_name == y.link);
    FUZZ_CHECK(y.content == ours[i].content);
    FUZZ_CHECK((y.mode & 07777) == x.mode);
    FUZZ_CHECK(y.uid == x.uid);
    FUZZ_CHECK(y.gid == x.gid);
    FUZZ_CHECK(y.mtime == x.mtime.seconds && y.nanoseconds == static_cast<long>(x.mtime.nanoseconds));
    FUZZ_CHECK(y.xattrs.size() == x.xattrs.size());
    for (const auto& xattr : x.xattrs)
      FUZZ_CHECK(y.xattrs.contains(xattr.name) && y.xattrs.at(xattr.name) == xattr.value);
  }
}

bool is_comparable(std::string_view tar) {
  for (const std::string_view key : {"LIBARCHIVE.", "SUN.", "SCHILY.acl", "SCHILY.dev", "SCHILY.ino", "SCHILY.nlink",
                                     "SCHILY.realsize", "SCHILY.fflags", "RHT."}) {
    if (tar.find(key) != std::string_view::npos) return false;
  }
  return true;
}

// As image_builder.cpp does it, twice over.
void build_tree(std::string_view tar) {
  auto writer = image::Ext4Writer::create({}, {});
  const image::Limits limits;
  image::ImageTree tree(limits, [&](const image::FileData& data) { writer->discard_data(data); });
  for (int layer = 0; layer < 2; ++layer) {
    tree.begin_layer();
    fuzz::MemorySource source(tar, fuzz::Cut::nowhere);
    image::TarReader reader(source);
    image::TarMember member;
    while (reader.next(member).value_or(false)) {
      image::FileData data;
      const bool whiteout = image::ImageTree::is_whiteout(member.name);
      if (!whiteout && member.size > 0) data = writer->store_data(reader, member.size).value();
      const auto applied = whiteout ? tree.whiteout(member) : tree.put(member, data);
      if (applied) continue;
      fuzz::check_image_error(applied.error());
      return;
    }
  }
  FUZZ_CHECK(tree.emit(*writer));
  check_paths(fuzz::recording().entries);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  std::setlocale(LC_ALL, "C.UTF-8");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string tar;
  if (size > 0 && data[0] == 0) {
    FuzzedDataProvider input(data + 1, size - 1);
    tar = fuzz::make_tar(input);
  } else {
    tar = fuzz::unroll(fuzz::as_text(data, size));
    tar.resize(std::min(tar.size(), kMostPlainBytes));
    fuzz::mend_checksums(tar);
  }
  if (std::getenv("FUZZ_SHOW")) std::fwrite(tar.data(), 1, tar.size(), stdout), std::fflush(stdout);
  const Archive whole = read_with(tar, fuzz::Cut::nowhere);
  for (const auto cut : {fuzz::Cut::everywhere, fuzz::Cut::somewhere}) {
    const Archive pieces = read_with(tar, cut);
    FUZZ_CHECK(std::equal(whole.members.begin(), whole.members.end(), pieces.members.begin(), pieces.members.end(),
                          same_member));
    FUZZ_CHECK(whole.error.has_value() == pieces.error.has_value());
    FUZZ_CHECK(!whole.error || whole.error->message == pieces.error->message);
  }
  if (!whole.error) {
    if (is_comparable(tar)) compare(tar, whole.members);
    build_tree(tar);
  }
  return 0;
}
