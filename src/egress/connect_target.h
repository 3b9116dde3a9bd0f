#pragma once
// The target of a tunnel: `host:port` as the :authority of a CONNECT request (RFC 9113 section 8.5) and in reports.
#include "src/model/host_name.h"

#include <cstdint>
#include <string_view>

namespace cleanroom::egress {

struct ConnectTarget {
  model::HostName host;
  std::uint16_t port = 0;
};

// Strict: an IPv6 address has brackets; the port is 1 to 65535 in digits without sign, space or leading zero.
// invalid_input with reason `invalid_host`.
base::Result<ConnectTarget> parse_connect_target(std::string_view authority);
base::Result<std::uint16_t> parse_port(std::string_view text);

}  // namespace cleanroom::egress
