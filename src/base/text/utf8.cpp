#include "src/base/text/utf8.h"

#include <fmt/format.h>

namespace cleanroom::base {
namespace {

std::uint8_t byte_at(std::string_view text, std::size_t index) {
  return static_cast<std::uint8_t>(text[index]);
}

}  // namespace

DecodedCodePoint decode_utf8(std::string_view text) {
  const std::uint8_t lead = byte_at(text, 0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
  std::uint32_t value = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte_at(text, i) & 0xC0) != 0x80) return {};
    value = (value << 6) | (byte_at(text, i) & 0x3FU);
  }
  const bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (overlong || surrogate || value > 0x10FFFF) return {};
  return {value, length};
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  while (!text.empty()) {
    const auto decoded = decode_utf8(text);
    text.remove_prefix(decoded.length == 0 ? 1 : decoded.length);
    ++count;
  }
  return count;
}

bool is_invisible_or_control(std::uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) ||  // C0, DEL, C1
         c == 0xAD || c == 0x061C ||             // soft hyphen, Arabic letter mark
         (c >= 0x200B && c <= 0x200F) ||         // zero width, direction marks
         (c >= 0x2028 && c <= 0x202E) ||         // separators, embeddings, overrides
         (c >= 0x2060 && c <= 0x206F) ||         // joiners, isolates
         c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFF) || (c >= 0xE0000 && c <= 0xE0FFF);  // tag characters
}

std::string escape_for_display(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto decoded = decode_utf8(text);
    const std::size_t length = decoded.length == 0 ? 1 : decoded.length;
    if (decoded.length == 0 || decoded.value < 0x20 || decoded.value == 0x7F) {
      out += fmt::format("\\x{:02x}", byte_at(text, 0));
    } else if (is_invisible_or_control(decoded.value)) {
      out += fmt::format("\\u{{{:x}}}", decoded.value);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace cleanroom::base
