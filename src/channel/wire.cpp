#include "src/channel/wire.h"

#include "src/base/os/io.h"

#include <algorithm>

namespace cleanroom::channel {

base::Error protocol_error(std::string what) {
  return base::Error(base::Code::guest_failure, "protocol_error",
                     "cannot read a record from the peer: " + std::move(what));
}

void FieldWriter::u8(std::uint8_t value) {
  bytes_.push_back(static_cast<std::byte>(value));
}
void FieldWriter::u16(std::uint16_t value) {
  u8(static_cast<std::uint8_t>(value >> 8));
  u8(static_cast<std::uint8_t>(value));
}
void FieldWriter::u32(std::uint32_t value) {
  u16(static_cast<std::uint16_t>(value >> 16));
  u16(static_cast<std::uint16_t>(value));
}
void FieldWriter::u64(std::uint64_t value) {
  u32(static_cast<std::uint32_t>(value >> 32));
  u32(static_cast<std::uint32_t>(value));
}
void FieldWriter::raw(std::span<const std::byte> bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}
void FieldWriter::text(std::string_view value) {
  u32(static_cast<std::uint32_t>(value.size()));
  raw(base::as_bytes(value));
}
void FieldWriter::texts(const std::vector<std::string>& values) {
  u32(static_cast<std::uint32_t>(values.size()));
  for (const auto& value : values)
    text(value);
}

base::Result<std::uint64_t> FieldReader::big_endian(std::size_t width) {
  if (rest_.size() < width) return base::fail(protocol_error("it ends early"));
  std::uint64_t value = 0;
  for (const auto byte : rest_.first(width))
    value = value << 8 | std::to_integer<std::uint64_t>(byte);
  rest_ = rest_.subspan(width);
  return value;
}

base::Result<std::uint8_t> FieldReader::u8() {
  return big_endian(1).map([](std::uint64_t value) { return static_cast<std::uint8_t>(value); });
}
base::Result<std::uint16_t> FieldReader::u16() {
  return big_endian(2).map([](std::uint64_t value) { return static_cast<std::uint16_t>(value); });
}
base::Result<std::uint32_t> FieldReader::u32() {
  return big_endian(4).map([](std::uint64_t value) { return static_cast<std::uint32_t>(value); });
}
base::Result<std::uint64_t> FieldReader::u64() {
  return big_endian(8);
}

base::Result<void> FieldReader::raw(std::span<std::byte> into) {
  if (rest_.size() < into.size()) return base::fail(protocol_error("it ends early"));
  std::copy_n(rest_.begin(), into.size(), into.begin());
  rest_ = rest_.subspan(into.size());
  return {};
}

base::Result<std::string> FieldReader::text(std::size_t max_bytes) {
  CR_ASSIGN(const std::uint32_t size, u32());
  if (size > max_bytes)
    return base::fail(protocol_error(fmt::format("a text of {} bytes, the limit is {}", size, max_bytes)));
  if (size > rest_.size()) return base::fail(protocol_error("it ends early"));
  std::string value(base::as_text(rest_.first(size)));
  rest_ = rest_.subspan(size);
  return value;
}

base::Result<std::uint32_t> FieldReader::count(std::size_t max_count, std::size_t min_bytes_each) {
  CR_ASSIGN(const std::uint32_t value, u32());
  if (value > max_count)
    return base::fail(protocol_error(fmt::format("a list of {}, the limit is {}", value, max_count)));
  if (value * min_bytes_each > rest_.size()) return base::fail(protocol_error("it ends early"));
  return value;
}

base::Result<std::vector<std::string>> FieldReader::texts(std::size_t max_count, std::size_t max_bytes_each) {
  CR_ASSIGN(const std::uint32_t size, count(max_count, 4));
  std::vector<std::string> values;
  values.reserve(size);
  for (std::uint32_t i = 0; i < size; ++i) {
    CR_ASSIGN(auto value, text(max_bytes_each));
    values.push_back(std::move(value));
  }
  return values;
}

base::Result<void> FieldReader::expect_end() const {
  if (!rest_.empty()) return base::fail(protocol_error(fmt::format("{} bytes follow its end", rest_.size())));
  return {};
}

}  // namespace cleanroom::channel
