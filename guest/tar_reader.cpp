#include "guest/tar_format.h"
#include "src/base/os/io.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace cleanroom::guest {
namespace {

base::Error broken(std::string_view what) {
  return base::Error(base::Code::invalid_input, fmt::format("cannot read the archive: {}", what));
}

std::string_view text_field(std::string_view block, std::size_t offset, std::size_t width) {
  const auto field = block.substr(offset, width);
  return field.substr(0, field.find('\0'));
}

// Octal digits, padded with spaces and zeros; or GNU's base 256, marked by the top bit.
std::optional<std::uint64_t> number_field(std::string_view block, std::size_t offset, std::size_t width) {
  auto field = block.substr(offset, width);
  std::uint64_t value = 0;
  if ((static_cast<unsigned char>(field[0]) & 0x80) != 0) {
    if (field[0] != '\x80') return std::nullopt;  // negative, or beyond 64 bits
    for (const char c : field.substr(1)) {
      if (value >> 55 != 0) return std::nullopt;
      value = value << 8 | static_cast<unsigned char>(c);
    }
    return value;
  }
  field = field.substr(0, field.find('\0'));
  while (!field.empty() && field.front() == ' ')
    field.remove_prefix(1);
  while (!field.empty() && field.back() == ' ')
    field.remove_suffix(1);
  if (field.empty()) return 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
  if (error != std::errc{} || end != field.data() + field.size()) return std::nullopt;
  return value;
}

bool has_valid_checksum(std::string_view block) {
  const auto wanted = number_field(block, 148, 8);
  unsigned sum = 0;
  for (std::size_t i = 0; i < block.size(); ++i)
    sum += i >= 148 && i < 156 ? unsigned{' '} : static_cast<unsigned char>(block[i]);
  return wanted && *wanted == sum;
}

std::optional<std::uint64_t> decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

base::Result<void> TarReader::feed(std::span<const std::byte> bytes) {
  while (!bytes.empty() && !complete_) {
    if (data_left_ > 0) {
      const auto piece = bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(data_left_, bytes.size())));
      bytes = bytes.subspan(piece.size());
      data_left_ -= piece.size();
      if (extension_type_ != 0) {
        extension_ += base::as_text(piece);
      } else {
        CR_TRY(sink_.on_data(piece));
      }
      if (data_left_ == 0) CR_TRY(extension_type_ != 0 ? on_extension_end() : sink_.on_entry_end());
    } else if (padding_left_ > 0) {
      const auto size = std::min(padding_left_, bytes.size());
      bytes = bytes.subspan(size);
      padding_left_ -= size;
    } else {
      const auto size = std::min(kTarBlock - block_fill_, bytes.size());
      std::copy_n(bytes.begin(), size, block_.begin() + static_cast<std::ptrdiff_t>(block_fill_));
      bytes = bytes.subspan(size);
      block_fill_ += size;
      if (block_fill_ == kTarBlock) CR_TRY(on_header());
    }
  }
  return {};
}

base::Result<void> TarReader::on_header() {
  block_fill_ = 0;
  const auto block = base::as_text(block_);
  if (block.find_first_not_of('\0') == std::string_view::npos) {
    complete_ = std::exchange(seen_zero_block_, true);
    return {};
  }
  if (seen_zero_block_ || !has_valid_checksum(block)) return base::fail(broken("a header's checksum is wrong"));
  TarEntry entry;
  const auto mode = number_field(block, 100, 8);
  const auto uid = number_field(block, 108, 8);
  const auto gid = number_field(block, 116, 8);
  const auto size = number_field(block, 124, 12);
  const auto mtime = number_field(block, 136, 12);
  if (!mode || !uid || !gid || !size || !mtime) return base::fail(broken("a number in a header is none"));
  entry.mode = static_cast<std::uint32_t>(*mode & 07777);
  entry.uid = *uid;
  entry.gid = *gid;
  entry.size = *size;
  entry.mtime = *mtime;
  entry.path = text_field(block, 0, 100);
  // POSIX magic only: GNU's own format keeps other things where ustar has the prefix.
  if (block.substr(257, 6) == std::string_view("ustar\0", 6)) {
    if (const auto prefix = text_field(block, 345, 155); !prefix.empty()) {
      entry.path = fmt::format("{}/{}", prefix, entry.path);
    }
  }
  entry.link_target = text_field(block, 157, 100);
  const char type = block[156];
  if (type != 'x' && type != 'g' && type != 'L' && type != 'K') return begin_entry(type, std::move(entry));
  if (entry.size == 0 || entry.size > kMaxTarExtension) return base::fail(broken("an extended header's size"));
  extension_type_ = type;
  extension_.clear();
  data_left_ = entry.size;
  padding_left_ = tar_padding(entry.size);
  return {};
}

base::Result<void> TarReader::on_extension_end() {
  const char type = std::exchange(extension_type_, 0);
  if (type == 'x') return apply_pax(extension_);
  if (type == 'L') override_.path = extension_.substr(0, extension_.find('\0'));
  if (type == 'K') override_.link_target = extension_.substr(0, extension_.find('\0'));
  return {};  // 'g': defaults for all entries; nothing in them concerns us
}

base::Result<void> TarReader::apply_pax(std::string_view records) {
  while (!records.empty()) {
    const auto space = records.find(' ');
    const auto length = decimal(records.substr(0, space));
    if (space == std::string_view::npos || !length || *length <= space + 1 || *length > records.size() ||
        records[*length - 1] != '\n') {
      return base::fail(broken("an extended header's record"));
    }
    const auto record = records.substr(space + 1, *length - space - 2);
    records.remove_prefix(*length);
    const auto equals = record.find('=');
    if (equals == std::string_view::npos) return base::fail(broken("an extended header's record"));
    const auto key = record.substr(0, equals);
    const auto value = record.substr(equals + 1);
    const auto number = decimal(value.substr(0, value.find('.')));  // times may have fractions
    const auto take = [&](std::uint64_t& field, bool& has) -> base::Result<void> {
      if (!number) return base::fail(broken(fmt::format("'{}' is no number", key)));
      field = *number;
      has = true;
      return {};
    };
    if (key == "path") override_.path = value;
    if (key == "linkpath") override_.link_target = value;
    if (key == "size") CR_TRY(take(override_.size, has_size_));
    if (key == "mtime" && !value.starts_with('-')) CR_TRY(take(override_.mtime, has_mtime_));
    if (key == "uid") CR_TRY(take(override_.uid, has_uid_));
    if (key == "gid") CR_TRY(take(override_.gid, has_gid_));
    if (key.starts_with("GNU.sparse.")) return base::fail(broken("sparse files are not supported"));
  }
  return {};
}

base::Result<void> TarReader::begin_entry(char type, TarEntry entry) {
  if (!override_.path.empty()) entry.path = std::move(override_.path);
  if (!override_.link_target.empty()) entry.link_target = std::move(override_.link_target);
  if (std::exchange(has_size_, false)) entry.size = override_.size;
  if (std::exchange(has_mtime_, false)) entry.mtime = override_.mtime;
  if (std::exchange(has_uid_, false)) entry.uid = override_.uid;
  if (std::exchange(has_gid_, false)) entry.gid = override_.gid;
  override_ = {};
  if (type == '\0' || type == '7') type = '0';
  if (type == '0' && entry.path.ends_with('/')) type = '5';  // how tar told directories before POSIX
  if (type < '0' || type > '6') return base::fail(broken(fmt::format("an entry of type {:?}", std::string(1, type))));
  entry.type = static_cast<TarType>(type);
  if (entry.type != TarType::file && entry.size != 0) {
    // Old archives give links the size of their target, without data.
    if (entry.type != TarType::hard_link) return base::fail(broken("data where there can be none"));
    entry.size = 0;
  }
  while (entry.path.size() > 1 && entry.path.ends_with('/'))
    entry.path.pop_back();
  if (entry.path.empty() || entry.path.size() > kMaxTarPath || entry.link_target.size() > kMaxTarPath ||
      entry.path.find('\0') != std::string::npos || entry.link_target.find('\0') != std::string::npos) {
    return base::fail(broken("an entry's path"));
  }
  data_left_ = entry.size;
  padding_left_ = tar_padding(entry.size);
  CR_TRY(sink_.on_entry(entry));
  return data_left_ == 0 ? sink_.on_entry_end() : base::Result<void>{};
}

}  // namespace cleanroom::guest
