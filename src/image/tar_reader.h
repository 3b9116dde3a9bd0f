#pragma once
// TarReader: reads a tar archive (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU long names) from front to back.
//
// Ours, because libarchive's reader changes names on the way (pax names that are not NFC become NFC, so two files
// of a layer become one), depends on the locale, and gives no offsets of members in an archive. Where tar programs
// disagree about what an archive holds, the archive is refused: a member with a size that should have none, a pax size
// that contradicts the header's, two extended headers that name one member, digits behind a NUL, sparse members,
// unknown member types, global pax records that rename or resize. Documented verdicts: the first zero block ends the
// archive, and a block after it must be zero too or the end; an archive may end without zero blocks, but only where a
// header would stand.
#include "src/image/tree_entry.h"

#include <array>
#include <cstdint>
#include <string>

namespace cleanroom::image {

class TarSource : public ContentReader {
 public:
  // Goes over `bytes` bytes; the default reads them. image_invalid when there are fewer.
  virtual base::Result<void> skip(std::uint64_t bytes);
};

struct TarMember {
  std::string name;  // as it stands in the archive; not a checked path
  EntryKind kind = EntryKind::file;
  std::uint32_t mode = 0;  // lower 12 bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  Timestamp mtime;
  std::uint64_t size = 0;  // 0 unless a file
  std::string link_name;   // of a symlink or hardlink
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::vector<Xattr> xattrs;
  std::uint64_t data_offset = 0;  // from the start of the archive
};

class TarReader final : public ContentReader {
 public:
  // `source` is borrowed.
  explicit TarReader(TarSource& source) : source_(source) {}

  // The next member; what is unread of the one before is skipped. False at the end. image_invalid, image_limit.
  base::Result<bool> next(TarMember& member);
  // The content of the current member.
  base::Result<std::size_t> read(std::span<std::byte> into) override;

 private:
  using Header = std::array<char, 512>;
  struct Extended;

  base::Result<bool> read_header(Header& header);
  base::Result<std::string> read_text(std::uint64_t size, std::uint64_t limit);
  base::Result<bool> take_extension(const Header& header, std::uint64_t size, Extended& extended);
  base::Result<void> skip_rest();

  TarSource& source_;
  std::uint64_t position_ = 0;
  std::uint64_t left_ = 0;     // of the current member's content
  std::uint64_t padding_ = 0;  // after it
  bool ended_ = false;
};

}  // namespace cleanroom::image
