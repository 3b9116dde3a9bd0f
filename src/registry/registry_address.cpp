#include "src/registry/registry_address.h"

#include <charconv>

namespace cleanroom::registry {
namespace {

constexpr std::size_t kMaxPortDigits = 5;

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint32_t port = 0;
  const auto* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, port);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == end && text.size() <= kMaxPortDigits;
  return whole && port >= 1 && port <= 65535 ? std::optional(static_cast<std::uint16_t>(port)) : std::nullopt;
}

}  // namespace

base::Result<RegistryAddress> parse_registry_address(std::string_view text) {
  const auto refuse = [] { return base::fail(base::Code::invalid_input, "it is not host or host:port"); };
  const bool bracketed = text.starts_with('[');
  const auto end = bracketed ? text.find(']') : text.find(':');
  if (bracketed && end == std::string_view::npos) return refuse();
  const auto name = bracketed ? text.substr(1, end - 1) : text.substr(0, end);
  const auto rest = end == std::string_view::npos ? std::string_view{} : text.substr(end + (bracketed ? 1 : 0));
  auto host = model::HostName::parse_wire(name);
  if (!host || bracketed != (host->is_ip() && !host->ip().is_v4())) return refuse();
  if (rest.empty()) return RegistryAddress{std::move(*host), std::nullopt};
  const auto port = rest.front() == ':' ? parse_port(rest.substr(1)) : std::nullopt;
  if (!port) return refuse();
  return RegistryAddress{std::move(*host), port};
}

}  // namespace cleanroom::registry
