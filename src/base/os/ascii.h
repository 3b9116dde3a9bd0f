#pragma once
// ASCII's classes and case, for text from outside. The C library's <cctype> goes by the locale, and is undefined for a
// negative char.
#include <string>
#include <string_view>

namespace cleanroom::base {

constexpr bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_ascii_lower(char c) {
  return c >= 'a' && c <= 'z';
}
constexpr bool is_ascii_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
constexpr bool is_ascii_letter(char c) {
  return is_ascii_lower(c) || is_ascii_upper(c);
}
constexpr bool is_ascii_alnum(char c) {
  return is_ascii_letter(c) || is_ascii_digit(c);
}
constexpr bool is_ascii_lower_hex(char c) {
  return is_ascii_digit(c) || (c >= 'a' && c <= 'f');
}
// With the space.
constexpr bool is_ascii_printable(char c) {
  return c >= ' ' && c <= '~';
}
// Without it.
constexpr bool is_ascii_graphic(char c) {
  return c > ' ' && c <= '~';
}
constexpr char ascii_lower(char c) {
  return is_ascii_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
}
// What a digit of base 16, of either case, counts; -1 for another character.
constexpr int hex_value(char c) {
  if (is_ascii_digit(c)) return c - '0';
  return is_ascii_lower_hex(ascii_lower(c)) ? ascii_lower(c) - 'a' + 10 : -1;
}

// True for the empty text.
constexpr bool is_ascii_printable(std::string_view text) {
  for (const char c : text)
    if (!is_ascii_printable(c)) return false;
  return true;
}
constexpr bool is_ascii_graphic(std::string_view text) {
  for (const char c : text)
    if (!is_ascii_graphic(c)) return false;
  return true;
}
inline std::string ascii_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    c = ascii_lower(c);
  return out;
}

}  // namespace cleanroom::base
