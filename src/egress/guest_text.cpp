#include "src/egress/guest_text.h"

#include <fmt/format.h>

namespace cleanroom::egress {

std::string guest_text(std::string_view text, std::size_t max_bytes) {
  std::string out;
  for (const char c : text) {
    const bool plain = c >= 0x20 && c < 0x7f && c != '\\';
    const auto piece = plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    if (out.size() + piece.size() > max_bytes) return out + "...";
    out += piece;
  }
  return out;
}

}  // namespace cleanroom::egress
