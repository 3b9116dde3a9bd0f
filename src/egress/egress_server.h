#pragma once
// EgressServer: the host's end of a sandbox's network stream, an HTTP/2 server (RFC 9113) on which each guest
// connection is a `CONNECT host:port` (section 8.5). For each: verdict by name, one resolution, verdict by address,
// dial exactly what was judged, then TLS or HTTP checks on ports 443 and 80, then a plain relay.
//
// Answers: 200, or a status with `cleanroom-reason: <reason code>`: 400 invalid_host, 403 denied, 429 connection_limit,
// 501 unsupported, 502 resolve_failed and connect_failed. `POST /v1/report` takes the guest's own refusals (README.md).
#include "src/channel/h2_connection.h"
#include "src/egress/audit_log.h"
#include "src/egress/dialer.h"
#include "src/egress/limits.h"
#include "src/egress/resolver.h"
#include "src/egress/summary.h"
#include "src/policy/network_rules.h"

#include <functional>
#include <memory>

namespace cleanroom::egress {

struct EgressState;  // egress_state.h

using DenialSink = std::function<void(const Denial&)>;

// Served in process, on port 80, when EgressOptions::gateway is there; else refused as unsupported.
inline constexpr std::string_view kGatewayHost = "gateway.cleanroom.internal";
inline constexpr std::uint16_t kGatewayPort = 80;
// Owns one tunnel to the gateway, from after the 200 to its end. `connection` is the number of its audit lines.
using GatewayHandler = std::function<base::Awaitable<void>(channel::H2Stream stream, std::uint64_t connection)>;

struct EgressOptions {
  std::size_t max_connections = kMaxConnections;
  double new_connections_per_second = kNewConnectionsPerSecond;
  double new_connections_burst = kNewConnectionsBurst;
  double requests_per_second = kRequestsPerSecond;
  double requests_burst = kRequestsBurst;
  std::size_t new_wildcard_names_per_minute = kMaxNewWildcardNamesPerMinute;
  std::chrono::milliseconds client_hello_limit = kClientHelloLimit;
  std::chrono::milliseconds resolve_limit = kResolveLimit;
  std::chrono::milliseconds connect_limit = kConnectLimit;
  std::chrono::milliseconds idle_limit = kIdleLimit;
  std::chrono::milliseconds half_closed_idle_limit = kHalfClosedIdleLimit;
  channel::H2Limits stream_limits = kNetworkStreamLimits;
  std::function<std::vector<model::IpAddress>()> own_addresses = egress::own_addresses;
  GatewayHandler gateway;
};

class EgressServer {
 public:
  // All references must outlive the io_context's handlers. `on_denial` may be empty; it runs on the server's thread and
  // must not block.
  EgressServer(policy::NetworkRules rules, Resolver& resolver, Dialer& dialer, AuditLog& audit, DenialSink on_denial,
               EgressOptions options = {});
  ~EgressServer();
  EgressServer(const EgressServer&) = delete;
  EgressServer& operator=(const EgressServer&) = delete;

  // Serves one network stream until the guest ends it or close() is called; returns after the last tunnel has ended.
  // guest_failure/protocol_error when the guest broke HTTP/2. The server must outlive the call.
  base::Awaitable<base::Result<void>> serve(channel::StreamSocket socket);
  // Ends every stream being served, now.
  void close();

  Summary summary() const;

 private:
  std::shared_ptr<EgressState> state_;
};

}  // namespace cleanroom::egress
