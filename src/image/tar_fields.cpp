#include "src/image/tar_fields.h"

#include "src/base/os/ascii.h"
#include "src/image/image_error.h"

#include <algorithm>
#include <charconv>

namespace cleanroom::image {
namespace {

constexpr std::size_t kChecksumAt = 148;
constexpr std::size_t kChecksumLength = 8;

// Two's complement, big-endian; the top bit only marks the form.
std::optional<std::int64_t> base256(std::string_view field) {
  const bool negative = (static_cast<unsigned char>(field[0]) & 0x40) != 0;
  std::uint64_t value = negative ? ~std::uint64_t{0} : 0;
  for (std::size_t i = 0; i < field.size(); ++i) {
    auto byte = static_cast<unsigned char>(field[i]);
    if (i == 0) byte = static_cast<unsigned char>(negative ? byte | 0x80 : byte & 0x7f);
    if ((value >> 56) != (negative ? 0xffu : 0u)) return std::nullopt;  // would shift out significant bits
    value = value << 8 | byte;
  }
  const auto signed_value = static_cast<std::int64_t>(value);
  if ((signed_value < 0) != negative) return std::nullopt;
  return signed_value;
}

}  // namespace

std::string_view tar_text(std::string_view field) {
  return field.substr(0, field.find('\0'));
}

std::optional<std::int64_t> tar_number(std::string_view field) {
  if (static_cast<unsigned char>(field[0]) & 0x80) return base256(field);
  while (!field.empty() && field.front() == ' ')
    field.remove_prefix(1);
  while (!field.empty() && (field.back() == ' ' || field.back() == '\0'))
    field.remove_suffix(1);
  if (field.empty()) return 0;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
  if (error != std::errc() || end != field.data() + field.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Timestamp> pax_time(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const std::size_t point = text.find('.');
  const auto seconds = decimal(text.substr(0, point));
  if (!seconds || *seconds > (std::uint64_t{1} << 40)) return std::nullopt;
  std::string fraction(point == std::string_view::npos ? "" : text.substr(point + 1));
  if (!std::all_of(fraction.begin(), fraction.end(), base::is_ascii_digit)) return std::nullopt;
  fraction.resize(9, '0');
  Timestamp time{static_cast<std::int64_t>(*seconds), static_cast<std::uint32_t>(*decimal(fraction))};
  if (negative) {
    time.seconds = -time.seconds;
    if (time.nanoseconds > 0) time = {time.seconds - 1, 1'000'000'000 - time.nanoseconds};
  }
  return time;
}

base::Result<void> for_each_pax_record(
    std::string_view records,
    const std::function<base::Result<void>(std::string_view key, std::string_view value)>& each) {
  while (!records.empty()) {
    const std::size_t space = records.find(' ');
    const auto length = space == std::string_view::npos ? std::nullopt : decimal(records.substr(0, space));
    if (!length || *length <= space + 1 || *length > records.size() || records[*length - 1] != '\n') {
      return image_invalid("a pax record is malformed");
    }
    const std::string_view record = records.substr(space + 1, *length - space - 2);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) return image_invalid("a pax record has no key");
    CR_TRY(each(record.substr(0, equals), record.substr(equals + 1)));
    records.remove_prefix(*length);
  }
  return {};
}

bool tar_checksum_ok(std::string_view header) {
  const auto wanted = tar_number(header.substr(kChecksumAt, kChecksumLength));
  std::int64_t as_unsigned = 0;
  std::int64_t as_signed = 0;  // some old programs
  for (std::size_t i = 0; i < header.size(); ++i) {
    const char c = i >= kChecksumAt && i < kChecksumAt + kChecksumLength ? ' ' : header[i];
    as_unsigned += static_cast<unsigned char>(c);
    as_signed += static_cast<signed char>(c);
  }
  return wanted && (*wanted == as_unsigned || *wanted == as_signed);
}

}  // namespace cleanroom::image
