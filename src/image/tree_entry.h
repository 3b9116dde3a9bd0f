#pragma once
// What goes into a file system image: one entry of a tree and the bytes of a regular file.
#include "src/base/os/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cleanroom::image {

// A stream of bytes read once from front to back.
class ContentReader {
 public:
  virtual ~ContentReader() = default;
  // Fills at most into.size() bytes; 0 = end. May block.
  virtual base::Result<std::size_t> read(std::span<std::byte> into) = 0;
  // From another thread: a read() that waits, and all later ones, fail soon. Nothing to do where none waits for long.
  virtual void abort() noexcept {}
};

enum class EntryKind : std::uint8_t { file, directory, symlink, hardlink, char_device, block_device, fifo, socket };

struct Timestamp {
  std::int64_t seconds = 0;  // since the epoch; ext4 holds 1901 to 2446, others are clamped
  std::uint32_t nanoseconds = 0;
  auto operator<=>(const Timestamp&) const = default;
};

// Name with its prefix ("user.x", "security.capability", "system.posix_acl_access" in the form of getxattr(2)).
struct Xattr {
  std::string name;
  std::string value;
};

struct TreeEntry {
  std::string path;  // relative, '/'-separated, no '.' or '..' components; "" is the root directory
  EntryKind kind = EntryKind::file;
  std::uint32_t mode = 0;  // the lower 12 bits: permissions, setuid, setgid, sticky
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  Timestamp mtime;
  std::uint64_t size = 0;         // of a regular file, in bytes
  std::string link_target;        // of a symlink, 1 to 4095 bytes
  std::uint32_t hardlink_to = 0;  // of a hardlink: what add() returned for the first name
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::vector<Xattr> xattrs;
};

}  // namespace cleanroom::image
