#pragma once
// pkt-line framing (gitprotocol-common): four hexadecimal digits that count themselves and the payload. 0000 is a
// flush, 0001 a delimiter, 0002 the end of a response.
#include "src/base/os/result.h"

#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::git_gateway {

inline constexpr std::size_t kPktHead = 4;
inline constexpr std::size_t kMaxPktBytes = 65520;

struct Packet {
  enum class Kind { data, flush, delimiter, response_end };
  Kind kind = Kind::data;
  std::string_view payload;  // of data; in the input
  std::size_t size = 0;      // of all of it, head included
};

// The packet at the start of `input`; nullopt when it is not all there yet. upstream_invalid: no pkt-line.
base::Result<std::optional<Packet>> first_packet(std::string_view input);

std::string data_packet(std::string_view payload);
inline constexpr std::string_view kFlushPacket = "0000";

// Without a final LF, which git adds to text lines.
std::string_view packet_text(const Packet& packet);

}  // namespace cleanroom::git_gateway
