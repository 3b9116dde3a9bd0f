#include "src/egress/connect_target.h"

#include "src/egress/guest_text.h"

namespace cleanroom::egress {
namespace {

base::Failure invalid(std::string_view text, std::string_view cause) {
  return base::fail(base::Code::invalid_input, "invalid_host",
                    fmt::format("cannot connect to '{}': {}", guest_text(text, 80), cause));
}

}  // namespace

base::Result<std::uint16_t> parse_port(std::string_view text) {
  const auto bad = [&] { return invalid(text, "a port is 1 to 65535, in digits"); };
  if (text.empty() || text.size() > 5 || text[0] == '0') return bad();
  std::uint32_t port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return bad();
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
  }
  if (port > 65535) return bad();
  return static_cast<std::uint16_t>(port);
}

base::Result<ConnectTarget> parse_connect_target(std::string_view authority) {
  const auto colon = authority.rfind(':');
  if (colon == std::string_view::npos) return invalid(authority, "no port");
  const auto host_text = authority.substr(0, colon);
  if (host_text.find(':') != std::string_view::npos && !host_text.starts_with('['))
    return invalid(authority, "an IPv6 address stands in brackets");
  CR_ASSIGN(auto host, model::HostName::parse_wire(host_text));
  CR_ASSIGN(const auto port, parse_port(authority.substr(colon + 1)));
  return ConnectTarget{std::move(host), port};
}

}  // namespace cleanroom::egress
