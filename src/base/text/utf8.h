#pragma once
// UTF-8 (RFC 3629), checked and counted.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cleanroom::base {

struct DecodedCodePoint {
  std::uint32_t value = 0;
  std::size_t length = 0;  // bytes; 0 = not UTF-8 here (overlong, surrogate, beyond U+10FFFF, cut short)
};
// The code point at the start of `text`, which is not empty.
DecodedCodePoint decode_utf8(std::string_view text);

// Code points in `text`; a byte that is not UTF-8 counts as one.
std::size_t count_code_points(std::string_view text);

// Controls, line and paragraph separators, and the marks that change the direction of text: what a terminal or a
// reviewer shows differently from what it is.
bool is_invisible_or_control(std::uint32_t code_point);

// `text` with such code points and bytes that are not UTF-8 as \xNN or \u{N}.
std::string escape_for_display(std::string_view text);

}  // namespace cleanroom::base
