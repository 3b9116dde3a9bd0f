#pragma once
// Tar as POSIX.1-2001 has it ("pax": ustar headers, extended headers where a field does not fit), the part that we send
// and take: files, directories, symbolic and hard links, and the mere mention of special files.
//
// Primer: an archive is a row of 512-byte blocks. An entry is a header block and its data, padded with zeros. A header
// of type 'x' precedes an entry, its data are records "LENGTH KEY=VALUE\n" that override the entry's fields. GNU tar
// writes long names as entries of type 'L' and 'K' instead; the reader takes those too. Two zero blocks end it.
// Limits: no sparse files, no extended attributes, no multi-volume archives.
#include "src/base/os/result.h"

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace cleanroom::guest {

inline constexpr std::size_t kTarBlock = 512;
inline constexpr std::size_t kMaxTarPath = 4096;
inline constexpr std::size_t kMaxTarExtension = 64 * 1024;  // an extended header

enum class TarType : char {
  file = '0',
  hard_link = '1',
  symbolic_link = '2',
  character_device = '3',
  block_device = '4',
  directory = '5',
  fifo = '6',
};

struct TarEntry {
  std::string path;  // directories end in '/' in the archive, not here
  TarType type = TarType::file;
  std::uint32_t mode = 0644;  // permission bits only
  std::uint64_t uid = 0;
  std::uint64_t gid = 0;
  std::uint64_t size = 0;  // of a file's data
  std::uint64_t mtime = 0;
  std::string link_target;
};

// The header blocks of an entry, extended header included.
std::vector<std::byte> encode_tar_header(const TarEntry& entry);
// Zeros that follow `size` bytes of data.
inline std::size_t tar_padding(std::uint64_t size) {
  return static_cast<std::size_t>((kTarBlock - size % kTarBlock) % kTarBlock);
}
inline constexpr std::size_t kTarEnd = 2 * kTarBlock;  // zeros

// Cuts a byte stream, in pieces of any size, into entries.
class TarReader {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    virtual base::Result<void> on_entry(const TarEntry& entry) = 0;
    virtual base::Result<void> on_data(std::span<const std::byte> bytes) = 0;  // of the last entry
    virtual base::Result<void> on_entry_end() = 0;
  };
  explicit TarReader(Sink& sink) : sink_(sink) {}
  // invalid_input: broken, or over a limit. What the sink fails with is passed on.
  base::Result<void> feed(std::span<const std::byte> bytes);
  // The end mark was seen. What follows it is ignored, as all tars do.
  bool is_complete() const { return complete_; }

 private:
  base::Result<void> on_header();
  base::Result<void> on_extension_end();
  base::Result<void> apply_pax(std::string_view records);
  base::Result<void> begin_entry(char type, TarEntry entry);

  Sink& sink_;
  std::array<std::byte, kTarBlock> block_{};
  std::size_t block_fill_ = 0;
  std::uint64_t data_left_ = 0;
  std::size_t padding_left_ = 0;
  char extension_type_ = 0;  // the data are an extension's ('x', 'g', 'L', 'K')
  std::string extension_;
  TarEntry override_;  // from extensions, for the next entry
  bool has_size_ = false;
  bool has_mtime_ = false;
  bool has_uid_ = false;
  bool has_gid_ = false;
  bool seen_zero_block_ = false;
  bool complete_ = false;
};

}  // namespace cleanroom::guest
