#include "src/image/tar_reader.h"

#include "src/image/image_error.h"
#include "src/image/tar_fields.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace cleanroom::image {
namespace {

using base::Result;

constexpr std::uint64_t kBlock = 512;
constexpr std::size_t kGnuSparseMapAt = 386;
constexpr std::size_t kGnuRealSizeAt = 483;
constexpr std::uint64_t kMaxPaxBytes = 1u << 20;
constexpr std::uint64_t kMaxLongName = 64u << 10;
constexpr int kMaxExtensions = 16;                     // headers before a member that only describe it
constexpr std::uint64_t kMaxUstarSize = 077777777777;  // eleven octal digits
constexpr std::int64_t kMaxMode = 0xffffffff;          // with type bits, which the type of the header outvotes
constexpr std::uint64_t kMaxId = 4294967294u;
constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 62;
constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";

std::uint64_t padding_of(std::uint64_t size) {
  return (kBlock - size % kBlock) % kBlock;
}

bool is_zero(std::span<const char> block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == 0; });
}

std::optional<EntryKind> kind_of(char type) {
  switch (type) {
    case '\0':
    case '0':
    case '7':
      return EntryKind::file;
    case '1':
      return EntryKind::hardlink;
    case '2':
      return EntryKind::symlink;
    case '3':
      return EntryKind::char_device;
    case '4':
      return EntryKind::block_device;
    case '5':
      return EntryKind::directory;
    case '6':
      return EntryKind::fifo;
    default:
      return std::nullopt;
  }
}

}  // namespace

Result<void> TarSource::skip(std::uint64_t bytes) {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(bytes, 64u << 10));
  while (bytes > 0) {
    CR_ASSIGN(const std::size_t n, read(std::span(buffer).first(std::min<std::uint64_t>(bytes, buffer.size()))));
    if (n == 0) return image_invalid("the archive ends within a member");
    bytes -= n;
  }
  return {};
}

// What the headers before a member say about it.
struct TarReader::Extended {
  std::optional<std::string> name;
  std::optional<std::string> link_name;
  std::optional<std::string> long_name;  // of GNU's own headers
  std::optional<std::string> long_link_name;
  bool has_records = false;
  std::optional<std::uint64_t> size;
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<Timestamp> mtime;
  std::vector<Xattr> xattrs;

  Result<void> take(std::string_view key, std::string_view value);
  // Of two headers that say the same, some programs follow the first and some the second.
  bool contradicts() const { return (name && long_name) || (link_name && long_link_name); }
};

Result<void> TarReader::Extended::take(std::string_view key, std::string_view value) {
  const auto bad = [&] { return image_invalid(fmt::format("the pax record '{}' has a bad value", shown(key))); };
  const auto number = decimal(value);
  if (key == "path" || key == "linkpath") {
    if (value.find('\0') != std::string_view::npos) return bad();
    (key == "path" ? name : link_name) = std::string(value);
  } else if (key == "size") {
    if (!number || *number > kMaxSize) return bad();
    size = *number;
  } else if (key == "uid" || key == "gid") {
    if (!number || *number > kMaxId) return bad();
    (key == "uid" ? uid : gid) = static_cast<std::uint32_t>(*number);
  } else if (key == "mtime") {
    mtime = pax_time(value);
    if (!mtime) return bad();
  } else if (key.starts_with("GNU.sparse.")) {
    return image_invalid("sparse members are not supported");
  } else if (key.starts_with(kXattrPrefix)) {
    const std::string attribute(key.substr(kXattrPrefix.size()));
    const auto same = std::find_if(xattrs.begin(), xattrs.end(), [&](const Xattr& x) { return x.name == attribute; });
    if (same != xattrs.end())
      same->value = std::string(value);
    else
      xattrs.push_back({attribute, std::string(value)});
  }
  return {};  // POSIX: unknown records are ignored
}

Result<bool> TarReader::read_header(Header& header) {
  std::size_t have = 0;
  while (have < header.size()) {
    CR_ASSIGN(const std::size_t n, source_.read(std::as_writable_bytes(std::span(header)).subspan(have)));
    if (n == 0) break;
    have += n;
  }
  position_ += have;
  if (have == 0) return false;
  if (have < header.size()) return image_invalid("the archive ends within a header");
  return true;
}

Result<std::string> TarReader::read_text(std::uint64_t size, std::uint64_t limit) {
  if (size > limit) return image_limit(fmt::format("a header of {} bytes is too large", size));
  left_ = size;
  padding_ = padding_of(size);
  std::string text(size, '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    CR_ASSIGN(const std::size_t n, read(std::as_writable_bytes(std::span(text)).subspan(have)));
    if (n == 0) break;
    have += n;
  }
  CR_TRY(skip_rest());
  return text;
}

Result<std::size_t> TarReader::read(std::span<std::byte> into) {
  if (left_ == 0 || into.empty()) return std::size_t{0};
  CR_ASSIGN(const std::size_t n, source_.read(into.first(std::min<std::uint64_t>(into.size(), left_))));
  if (n == 0) return image_invalid("the archive ends within a member");
  left_ -= n;
  position_ += n;
  return n;
}

Result<void> TarReader::skip_rest() {
  const std::uint64_t rest = left_ + padding_;
  left_ = padding_ = 0;
  position_ += rest;
  return rest > 0 ? source_.skip(rest) : Result<void>();
}

// True: the header described the next member, which is to be read now.
Result<bool> TarReader::take_extension(const Header& header, std::uint64_t size, Extended& extended) {
  switch (header[156]) {
    case 'x': {
      if (std::exchange(extended.has_records, true)) return image_invalid("a member has two extended headers");
      CR_ASSIGN(const std::string records, read_text(size, kMaxPaxBytes));
      CR_TRY(for_each_pax_record(records, [&](auto key, auto value) { return extended.take(key, value); }));
      return true;
    }
    case 'g': {
      CR_ASSIGN(const std::string records, read_text(size, kMaxPaxBytes));
      CR_TRY(for_each_pax_record(records, [](std::string_view key, std::string_view) -> Result<void> {
        if (key == "comment" || key == "charset" || key == "hdrcharset" || key == "atime" || key == "ctime") return {};
        return image_invalid(fmt::format("a global pax record for '{}' is not supported", shown(key)));
      }));
      return true;
    }
    case 'L':
    case 'K': {
      auto& into = header[156] == 'L' ? extended.long_name : extended.long_link_name;
      if (into) return image_invalid("a member has two long names");
      CR_ASSIGN(const std::string text, read_text(size, kMaxLongName));
      into = std::string(tar_text(text));
      return true;
    }
    default:
      return false;
  }
}

// NOLINTNEXTLINE(readability-function-size): one branch a kind of header
Result<bool> TarReader::next(TarMember& member) {
  CR_TRY(skip_rest());
  Extended extended;
  Header header;
  const std::string_view text(header.data(), header.size());
  std::uint64_t size = 0;
  for (int extensions = 0;; ++extensions) {
    if (extensions > kMaxExtensions) return image_invalid("a member has too many extended headers");
    CR_ASSIGN(const bool there, ended_ ? Result<bool>(false) : read_header(header));
    if (!there || is_zero(header)) {
      if (extensions > 0) return image_invalid("the archive ends after an extended header");
      if (there) {
        CR_ASSIGN(const bool another, read_header(header));
        if (another && !is_zero(header)) return image_invalid("a single zero block stands between members");
      }
      ended_ = true;
      return false;
    }
    if (!tar_checksum_ok(text)) return image_invalid("a header's checksum is wrong: not a tar archive, or damaged");
    const auto number = tar_number(text.substr(124, 12));
    if (!number || *number < 0 || static_cast<std::uint64_t>(*number) > kMaxSize) {
      return image_invalid("a header's size is not a number");
    }
    size = static_cast<std::uint64_t>(*number);
    CR_ASSIGN(const bool extension, take_extension(header, size, extended));
    if (!extension) break;
  }

  if (extended.contradicts()) return image_invalid("a member has a long name and a pax name");
  if (extended.long_name) extended.name = std::move(extended.long_name);
  if (extended.long_link_name) extended.link_name = std::move(extended.long_link_name);
  const auto kind = kind_of(header[156]);
  if (!kind)
    return image_invalid(
        fmt::format("members of type {:#04x} are not supported", static_cast<unsigned char>(header[156])));
  const bool ustar = text.substr(257, 6) == std::string_view("ustar\0", 6);
  const bool gnu = text.substr(257, 8) == std::string_view("ustar  \0", 8);
  if (text.substr(257, 5) == "ustar" && !ustar && !gnu && header[345] != 0)
    return image_invalid("a header with a prefix is of an unknown format");
  // libarchive reads a map of holes and a size from GNU's header whatever its type is, GNU tar only where it says 'S'.
  if (gnu && (header[kGnuSparseMapAt] != 0 || header[kGnuRealSizeAt] != 0))
    return image_invalid("sparse members are not supported");
  member = TarMember{.kind = *kind};
  const std::string prefix(ustar ? tar_text(text.substr(345, 155)) : std::string_view());
  const std::string short_name(tar_text(text.substr(0, 100)));
  member.name = extended.name.value_or(prefix.empty() ? short_name : prefix + "/" + short_name);
  member.link_name = extended.link_name.value_or(std::string(tar_text(text.substr(157, 100))));

  // CVE-2025-62518: two readers that follow different sizes see different members.
  if (extended.size && size != 0 && *extended.size != size && *extended.size <= kMaxUstarSize) {
    return image_invalid(fmt::format("'{}' has two sizes: {} and {}", shown(member.name), size, *extended.size));
  }
  size = extended.size.value_or(size);
  const auto mode = tar_number(text.substr(100, 8));
  const auto uid = tar_number(text.substr(108, 8));
  const auto gid = tar_number(text.substr(116, 8));
  const auto mtime = tar_number(text.substr(136, 12));
  const auto in_range = [](const std::optional<std::int64_t>& id) {
    return id && *id >= 0 && static_cast<std::uint64_t>(*id) <= kMaxId;
  };
  if (!mode || *mode < 0 || *mode > kMaxMode || !mtime || (!extended.uid && !in_range(uid)) ||
      (!extended.gid && !in_range(gid))) {
    return image_invalid(fmt::format("the header of '{}' has a field that is not a number", shown(member.name)));
  }
  member.mode = static_cast<std::uint32_t>(*mode) & 07777;
  member.uid = extended.uid.value_or(static_cast<std::uint32_t>(uid.value_or(0)));
  member.gid = extended.gid.value_or(static_cast<std::uint32_t>(gid.value_or(0)));
  member.mtime = extended.mtime.value_or(Timestamp{*mtime, 0});
  member.xattrs = std::move(extended.xattrs);
  if (*kind == EntryKind::char_device || *kind == EntryKind::block_device) {
    const auto major = tar_number(text.substr(329, 8));
    const auto minor = tar_number(text.substr(337, 8));
    if (!major || !minor || *major < 0 || *minor < 0 || *major > 0xfff || *minor > 0xfffff) {
      return image_invalid(fmt::format("'{}' has a device number that is not possible", shown(member.name)));
    }
    member.device_major = static_cast<std::uint32_t>(*major);
    member.device_minor = static_cast<std::uint32_t>(*minor);
  }
  if (*kind == EntryKind::file && member.name.ends_with('/')) {
    // Before POSIX this was how a directory was written; with a type of its own programs disagree.
    if (header[156] != '\0')
      return image_invalid(fmt::format("'{}' is a file by type and a directory by name", shown(member.name)));
    member.kind = EntryKind::directory;
  }
  if (member.kind != EntryKind::file && size != 0) {
    return image_invalid(fmt::format("'{}' has content but is not a file", shown(member.name)));
  }
  member.size = left_ = size;
  padding_ = padding_of(size);
  member.data_offset = position_;
  return true;
}

}  // namespace cleanroom::image
