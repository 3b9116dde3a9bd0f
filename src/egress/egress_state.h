#pragma once
// What the requests of one EgressServer share. Internal to src/egress.
#include "src/egress/egress_server.h"
#include "src/egress/pacer.h"

#include <set>

namespace cleanroom::egress {

struct EgressState {
  EgressState(policy::NetworkRules r, Resolver& res, Dialer& dial, AuditLog& log, DenialSink sink, EgressOptions o)
      : rules(std::move(r)),
        resolver(res),
        dialer(dial),
        audit(log),
        on_denial(std::move(sink)),
        options(std::move(o)),
        new_connections(options.new_connections_per_second, options.new_connections_burst),
        requests(options.requests_per_second, options.requests_burst),
        wildcard_names(options.new_wildcard_names_per_minute, kMaxKnownWildcardNames) {}

  const policy::NetworkRules rules;
  Resolver& resolver;
  Dialer& dialer;
  AuditLog& audit;
  const DenialSink on_denial;
  const EgressOptions options;

  Pacer new_connections;
  Pacer requests;
  DistinctNames wildcard_names;
  Tally tally;
  std::uint64_t last_connection = 0;
  std::size_t open_connections = 0;
  std::set<std::shared_ptr<channel::H2Connection>> connections;
};
using StatePtr = std::shared_ptr<EgressState>;

// A verdict that says no, for the audit log, the summary and the sink alike.
struct Refusal {
  std::string_view event = "connect";
  model::Reason reason = model::Reason::host_not_allowed;
  std::string rule;
  std::string detail;
  std::string address;
  std::optional<std::string> sni;
  std::optional<bool> ech;
};
// `host` is canonical, or text as sent: it is made printable here. Port 0: none.
void record_refusal(EgressState& state, std::uint64_t connection, std::string_view host, std::uint16_t port,
                    const Refusal& refusal);

// Ends a request with a status alone (and `cleanroom-reason` unless it is `allowed`), and waits until the guest has it.
base::Awaitable<void> answer(channel::H2Stream stream, std::string_view status, model::Reason reason);

// One request on the network stream, from its headers to its end.
base::Awaitable<void> serve_request(StatePtr state, channel::H2Stream stream);
base::Awaitable<void> serve_connect(StatePtr state, channel::H2Stream stream);
base::Awaitable<void> serve_report(StatePtr state, channel::H2Stream stream);

}  // namespace cleanroom::egress
