#pragma once
// From an allowed name to a connection: one resolution, a verdict for each address, then a connection to exactly one of
// those that passed. Tunnels and the gateway's upstreams go this way alike.
#include "src/egress/dialer.h"
#include "src/egress/resolver.h"
#include "src/policy/network_rules.h"

#include <chrono>

namespace cleanroom::egress {

struct DialRefusal {
  model::Reason reason = model::Reason::connect_failed;  // or ip_denied, resolve_failed
  std::string rule;                                      // key path of the deciding rule; may be empty
  std::string detail;
  std::string address;  // the first that was refused or tried; empty when there is none
};

struct DialTarget {
  model::HostName host;  // rules.judge() has allowed it
  std::uint16_t port = 0;
  std::chrono::milliseconds resolve_limit{};
  std::chrono::milliseconds connect_limit{};
};

// The references must outlive the call.
base::Awaitable<tl::expected<Dialed, DialRefusal>> judged_dial(const policy::NetworkRules& rules, Resolver& resolver,
                                                               Dialer& dialer, std::vector<model::IpAddress> own,
                                                               DialTarget target);

}  // namespace cleanroom::egress
