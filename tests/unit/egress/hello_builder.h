#pragma once
// Builds TLS records and ClientHellos byte by byte, well-formed or not.
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::egress::testing {

inline std::string number(std::size_t width, std::size_t value) {
  std::string out;
  for (std::size_t i = width; i > 0; --i)
    out += static_cast<char>(value >> (8 * (i - 1)) & 0xff);
  return out;
}
inline std::string vector(std::size_t width, std::string_view body) {
  return number(width, body.size()) + std::string(body);
}
inline std::string extension(std::size_t type, std::string_view body) {
  return number(2, type) + vector(2, body);
}
inline std::string sni(std::string_view name) {
  return extension(0, vector(2, number(1, 0) + vector(2, name)));
}
inline std::string handshake(std::string_view body) {
  return number(1, 1) + vector(3, body);
}
// Without any extension the list itself is left out.
inline std::string hello(const std::vector<std::string>& extensions) {
  std::string list;
  for (const auto& one : extensions)
    list += one;
  return handshake(number(2, 0x0303) + std::string(32, 'r') + vector(1, std::string(32, 's')) +
                   vector(2, "\x13\x01\x13\x02") + vector(1, std::string(1, '\0')) +
                   (extensions.empty() ? "" : vector(2, list)));
}
inline std::string record(std::string_view fragment) {
  return number(1, 22) + number(2, 0x0301) + vector(2, fragment);
}
inline std::string records(std::string_view message, std::size_t fragment = 16384) {
  std::string out;
  for (std::size_t at = 0; at < message.size(); at += fragment)
    out += record(message.substr(at, fragment));
  return out;
}

}  // namespace cleanroom::egress::testing
