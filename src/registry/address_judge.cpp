#include "src/registry/address_judge.h"

#include "src/model/ip_address.h"
#include "src/policy/address_rules.h"

#include <netinet/in.h>

#include <cstring>
#include <optional>

namespace cleanroom::registry {
namespace {

std::optional<model::IpAddress> address_of(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof v4);
    return model::IpAddress::v4(ntohl(v4.sin_addr.s_addr));
  }
  if (address.sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof v6);
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
  return model::IpAddress::v6(bytes);
}

std::optional<std::string_view> special(const std::optional<model::IpAddress>& address) {
  if (!address) return "no internet address";
  if (auto why = policy::special_purpose(*address)) return why;
  const auto embedded = address->embedded_v4();
  return embedded ? policy::special_purpose(*embedded) : std::nullopt;
}

}  // namespace

bool is_public_address(const sockaddr& address) {
  return !special(address_of(address)).has_value();
}

bool is_public_address(std::string_view text) {
  const auto address = model::IpAddress::parse(text);
  return address && !special(*address);
}

bool is_usable_address(const sockaddr& address) {
  const auto why = special(address_of(address));
  return !why || *why == "private" || *why == "loopback" || why->starts_with("shared");
}

}  // namespace cleanroom::registry
