#pragma once
// Which addresses no job may reach unless the operator's policy names them: everything that is not global unicast, and
// the metadata services that clouds put at fixed addresses. Sources: the IANA IPv4 and IPv6 Special-Purpose Address
// Registries (RFC 6890 and updates).
#include "src/model/ip_address.h"

#include <optional>
#include <string_view>

namespace cleanroom::policy {

// Why the address is special ("loopback", "private", "link-local", "metadata", ...); nullopt for global unicast.
// An IPv6 address is judged by itself; what IPv4 address it embeds is for the caller to judge as well.
std::optional<std::string_view> special_purpose(const model::IpAddress& address);

// Why some address of a range is special; nullopt when all of it is global unicast. A range that translates to IPv4
// (NAT64) counts as special unless it is one address that stands for a public one.
std::optional<std::string_view> special_purpose_within(const model::Cidr& range);

}  // namespace cleanroom::policy
