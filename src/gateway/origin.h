#pragma once
// Origin: scheme, host and port of a server (RFC 6454). The gateway speaks https only, so host and port are all there
// is. What belongs to one origin, such as a credential or a connection, is for no other.
#include "src/model/host_name.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace cleanroom::gateway {

inline constexpr std::uint16_t kHttpsPort = 443;

struct Origin {
  model::HostName host;
  std::uint16_t port = kHttpsPort;
  bool operator==(const Origin& other) const = default;
  std::string text() const;  // "github.com", "git.example.com:8443"
};

struct Location {
  Origin origin;
  std::string target;  // path and query, starts with a slash
};

// An absolute https URL, or a reference relative to `base` (RFC 3986 section 5.2, without dot segments, which are
// refused). redirect_denied: another scheme, userinfo, a fragment, anything unclear.
base::Result<Location> parse_location(std::string_view url, const Location& base);

}  // namespace cleanroom::gateway
