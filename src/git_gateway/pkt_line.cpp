#include "src/git_gateway/pkt_line.h"

#include <charconv>

namespace cleanroom::git_gateway {

base::Result<std::optional<Packet>> first_packet(std::string_view input) {
  if (input.size() < kPktHead) return std::optional<Packet>();
  std::size_t size = 0;
  const auto* const end = input.data() + kPktHead;
  const auto [stopped, ec] = std::from_chars(input.data(), end, size, 16);
  if (ec != std::errc() || stopped != end || size == 3 || size > kMaxPktBytes)
    return base::fail(base::Code::unavailable, "upstream_invalid", "cannot read a pkt-line: malformed length");
  if (size < 3) {
    constexpr Packet::Kind kKinds[] = {Packet::Kind::flush, Packet::Kind::delimiter, Packet::Kind::response_end};
    return std::optional(Packet{.kind = kKinds[size], .payload = {}, .size = kPktHead});
  }
  if (input.size() < size) return std::optional<Packet>();
  return std::optional(
      Packet{.kind = Packet::Kind::data, .payload = input.substr(kPktHead, size - kPktHead), .size = size});
}

std::string data_packet(std::string_view payload) {
  return fmt::format("{:04x}", payload.size() + kPktHead) + std::string(payload);
}

std::string_view packet_text(const Packet& packet) {
  auto text = packet.payload;
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

}  // namespace cleanroom::git_gateway
