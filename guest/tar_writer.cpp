#include "guest/tar_format.h"
#include "src/base/os/io.h"

#include <algorithm>
#include <cstring>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kNameField = 100;
constexpr std::uint64_t kMaxOctal7 = 07777777;
constexpr std::uint64_t kMaxOctal11 = 077777777777;

// Fields of a ustar header: offset and width.
struct Field {
  std::size_t offset;
  std::size_t width;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12}, kMtime{136, 12},
    kChecksum{148, 8}, kType{156, 1}, kLink{157, 100}, kMagic{257, 8};

class Header {
 public:
  void text(Field field, std::string_view value) {
    std::memcpy(bytes_.data() + field.offset, value.data(), std::min(value.size(), field.width));
  }
  // What does not fit is in the extended header; the field then holds 0.
  void octal(Field field, std::uint64_t value) {
    const auto digits = fmt::format("{:0{}o}", value, field.width - 1);
    text(field, digits.size() < field.width ? digits : std::string(field.width - 1, '0'));
  }
  std::span<const std::byte> finish() {
    text(kMagic, std::string_view("ustar\00000", 8));
    text(kChecksum, "        ");
    unsigned sum = 0;
    for (const auto c : bytes_)
      sum += static_cast<unsigned char>(c);
    text(kChecksum, fmt::format("{:06o}", sum));
    bytes_[kChecksum.offset + 6] = '\0';
    return std::as_bytes(std::span(bytes_));
  }

 private:
  std::array<char, kTarBlock> bytes_{};
};

// "LENGTH KEY=VALUE\n", where LENGTH counts itself.
void append_pax(std::string& records, std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest;
  while (length != rest + fmt::formatted_size("{}", length))
    length = rest + fmt::formatted_size("{}", length);
  records += fmt::format("{} {}={}\n", length, key, value);
}

std::string pax_records(const TarEntry& entry, std::string_view name) {
  std::string records;
  if (name.size() > kNameField) append_pax(records, "path", name);
  if (entry.link_target.size() > kNameField) append_pax(records, "linkpath", entry.link_target);
  if (entry.size > kMaxOctal11) append_pax(records, "size", fmt::format("{}", entry.size));
  if (entry.mtime > kMaxOctal11) append_pax(records, "mtime", fmt::format("{}", entry.mtime));
  if (entry.uid > kMaxOctal7) append_pax(records, "uid", fmt::format("{}", entry.uid));
  if (entry.gid > kMaxOctal7) append_pax(records, "gid", fmt::format("{}", entry.gid));
  return records;
}

void append(std::vector<std::byte>& bytes, std::span<const std::byte> more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

}  // namespace

std::vector<std::byte> encode_tar_header(const TarEntry& entry) {
  std::vector<std::byte> bytes;
  const std::string name = entry.type == TarType::directory ? entry.path + "/" : entry.path;
  if (const std::string records = pax_records(entry, name); !records.empty()) {
    Header extension;
    extension.text(kName, "pax");
    extension.octal(kMode, 0644);
    extension.octal(kUid, 0);
    extension.octal(kGid, 0);
    extension.octal(kSize, records.size());
    extension.octal(kMtime, 0);
    extension.text(kType, "x");
    append(bytes, extension.finish());
    append(bytes, base::as_bytes(records));
    bytes.resize(bytes.size() + tar_padding(records.size()));
  }
  Header header;
  header.text(kName, name);
  header.octal(kMode, entry.mode & 07777);
  header.octal(kUid, entry.uid);
  header.octal(kGid, entry.gid);
  header.octal(kSize, entry.type == TarType::file ? entry.size : 0);
  header.octal(kMtime, entry.mtime);
  const char type = static_cast<char>(entry.type);
  header.text(kType, std::string_view(&type, 1));
  header.text(kLink, entry.link_target);
  append(bytes, header.finish());
  return bytes;
}

}  // namespace cleanroom::guest
