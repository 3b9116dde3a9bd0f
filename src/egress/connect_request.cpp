// One CONNECT: verdicts, resolution, dialling, the first bytes, the relay. The order of the steps is the security
// property: nothing is resolved before the name is allowed, nothing dialled that was not judged, nothing sent upstream
// before the TLS or HTTP check has passed.
#include "src/base/async/event.h"
#include "src/base/os/defer.h"
#include "src/egress/connect_target.h"
#include "src/egress/egress_state.h"
#include "src/egress/http_request_guard.h"
#include "src/egress/judged_dial.h"
#include "src/egress/relay.h"
#include "src/egress/tls_client_hello.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include <array>

namespace cleanroom::egress {

using base::Awaitable;
using model::Reason;
namespace asio = base::asio;

namespace {

constexpr std::uint16_t kTlsPort = 443;
constexpr std::uint16_t kHttpPort = 80;
constexpr auto kAlertFlushLimit = std::chrono::seconds(2);
// A fatal access_denied alert (RFC 8446 section 6.2): clients then say more than "connection reset".
constexpr std::array kAccessDenied{std::byte{21}, std::byte{3}, std::byte{3}, std::byte{0},
                                   std::byte{2},  std::byte{2}, std::byte{49}};

struct Connect {
  StatePtr state;
  std::uint64_t id = 0;
  ConnectTarget target;
  policy::Verdict verdict;
  std::optional<Dialed> dialed;
  std::optional<Refusal> refusal;
  base::Deadline started = base::SteadyClock::now();
};

std::string_view status_of(Reason reason) {
  if (reason == Reason::invalid_host) return "400";
  if (reason == Reason::connection_limit) return "429";
  if (reason == Reason::unsupported) return "501";
  if (reason == Reason::resolve_failed || reason == Reason::connect_failed) return "502";
  return "403";
}

bool is_gateway(const Connect& connect) {
  return connect.target.host.text() == kGatewayHost;
}

// What can be said without a packet.
std::optional<Refusal> judge_name(Connect& connect) {
  auto& state = *connect.state;
  if (is_gateway(connect)) {
    if (!state.options.gateway)
      return Refusal{.reason = Reason::unsupported, .detail = "the policy names nothing for the gateway to serve"};
    if (connect.target.port != kGatewayPort)
      return Refusal{.reason = Reason::port_not_allowed, .detail = "the gateway answers on port 80"};
  } else {
    connect.verdict = state.rules.judge(connect.target.host, connect.target.port);
    if (!connect.verdict.allowed)
      return Refusal{.reason = connect.verdict.reason, .rule = connect.verdict.rule, .detail = connect.verdict.detail};
  }
  if (state.open_connections > state.options.max_connections)
    return Refusal{.reason = Reason::connection_limit, .detail = "too many open connections"};
  if (connect.verdict.by_wildcard && !state.wildcard_names.admit(connect.target.host.text(), base::SteadyClock::now()))
    return Refusal{.reason = Reason::connection_limit, .detail = "too many new names below a wildcard"};
  return std::nullopt;
}

Awaitable<void> resolve_and_dial(Connect& connect) {
  auto& state = *connect.state;
  DialTarget target{.host = connect.target.host,
                    .port = connect.target.port,
                    .resolve_limit = state.options.resolve_limit,
                    .connect_limit = state.options.connect_limit};
  auto dial = judged_dial(state.rules, state.resolver, state.dialer, state.options.own_addresses(), std::move(target));
  auto dialed = co_await std::move(dial);
  if (dialed) {
    connect.dialed = std::move(*dialed);
    co_return;
  }
  auto& refused = dialed.error();
  connect.refusal = Refusal{.reason = refused.reason,
                            .rule = std::move(refused.rule),
                            .detail = std::move(refused.detail),
                            .address = std::move(refused.address)};
}

Awaitable<void> establish(Connect& connect) {
  const auto start = connect.state->new_connections.reserve(base::SteadyClock::now());
  if (start > base::SteadyClock::now()) {
    asio::steady_timer turn(co_await asio::this_coro::executor, start);
    co_await turn.async_wait(base::kTuple);
  }
  co_await resolve_and_dial(connect);
}

std::optional<Refusal> judge_hello(const Connect& connect, const ClientHelloReader& reader) {
  const bool observes = connect.verdict.tls == policy::TlsMode::observe;
  if (reader.state() != ClientHelloReader::State::complete && observes) return std::nullopt;
  if (reader.state() != ClientHelloReader::State::complete)
    return Refusal{.event = "tls",
                   .reason = Reason::tls_invalid,
                   .rule = connect.verdict.rule,
                   .detail = reader.state() == ClientHelloReader::State::invalid ? reader.problem()
                                                                                 : "no ClientHello within the limit"};
  const auto& hello = reader.hello();
  Refusal refusal{.event = "tls", .rule = connect.verdict.rule, .address = connect.dialed->address.to_string()};
  refusal.ech = hello.has_ech;
  if (hello.server_name) refusal.sni = hello.server_name->text();
  if (hello.has_ech && connect.state->rules.ech() == policy::EchMode::deny) {
    refusal.reason = Reason::ech_denied;
    return refusal;
  }
  // A client that connects to an address sends no name: RFC 6066 allows none. One that does means something else.
  const bool needs_name = !connect.target.host.is_ip();
  if (needs_name == hello.server_name.has_value() && (!needs_name || *hello.server_name == connect.target.host))
    return std::nullopt;
  if (observes && !hello.server_name) return std::nullopt;
  refusal.reason = hello.server_name ? Reason::sni_mismatch : Reason::sni_missing;
  return refusal;
}

enum class HelloEnd { judged, guest_left };

Awaitable<HelloEnd> read_hello(const Connect& connect, channel::H2Stream& stream, ClientHelloReader& reader) {
  const auto deadline = base::deadline_in(connect.state->options.client_hello_limit);
  std::vector<std::byte> buffer(kRelayBuffer);
  while (reader.state() == ClientHelloReader::State::need_more) {
    const auto n = co_await base::with_deadline(deadline, "read a ClientHello", stream.read(buffer));
    const bool timed_out = !n && n.error().code == base::Code::timeout;
    if (timed_out) break;
    if (!n || *n == 0) {
      // Opened and closed without a byte: a port check, nothing to judge.
      if (reader.received().empty()) co_return HelloEnd::guest_left;
      break;
    }
    reader.feed(std::span<const std::byte>(buffer).first(*n));
  }
  co_return HelloEnd::judged;
}

AuditEvent event_of(const Connect& connect, std::string_view event, std::string_view action) {
  return {.event = event,
          .action = action,
          .connection = connect.id,
          .host = connect.target.host.text(),
          .port = connect.target.port,
          .address = connect.dialed ? connect.dialed->address.to_string() : std::string(),
          .reason = action.empty() ? std::string_view() : to_string(Reason::allowed),
          .rule = connect.verdict.rule};
}

void record_close(const Connect& connect, const RelayOutcome& outcome) {
  auto event = event_of(connect, "close", "");
  event.detail = outcome.end;
  event.bytes_up = outcome.bytes_up;
  event.bytes_down = outcome.bytes_down;
  event.duration_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(base::SteadyClock::now() - connect.started).count());
  connect.state->audit.write(event);
  connect.state->tally.add_bytes(outcome.bytes_up, outcome.bytes_down);
}

Awaitable<void> refuse_hello(Connect& connect, channel::H2Stream& stream, const Refusal& refusal, bool speaks_tls) {
  base::ErrorCode ignored;
  connect.dialed->socket.close(ignored);
  record_refusal(*connect.state, connect.id, connect.target.host.text(), connect.target.port, refusal);
  record_close(connect, {.end = "refused"});
  if (!speaks_tls) co_return;
  using namespace asio::experimental::awaitable_operators;
  (void)co_await stream.write_all(kAccessDenied);
  stream.finish();
  asio::steady_timer limit(co_await asio::this_coro::executor, kAlertFlushLimit);
  co_await (stream.wait_closed() || limit.async_wait(base::kTuple));
}

void count_allowed(const Connect& connect) {
  connect.state->tally.count(connect.target.host.text(), connect.target.port, Reason::allowed, connect.verdict.rule);
}

// From 200 to the end of the tunnel.
Awaitable<void> carry(Connect& connect, channel::H2Stream stream) {
  const auto& options = connect.state->options;
  RelayOptions relay_options{.first_up = {},
                             .guard = nullptr,
                             .on_refused = nullptr,
                             .limits = {options.idle_limit, options.half_closed_idle_limit, kFlushLimit}};
  if (connect.target.port == kTlsPort && connect.verdict.tls != policy::TlsMode::opaque) {
    ClientHelloReader reader;
    if (co_await read_hello(connect, stream, reader) == HelloEnd::guest_left) {
      record_close(connect, {.end = "closed"});
      co_return;
    }
    if (const auto refusal = judge_hello(connect, reader)) {
      co_await refuse_hello(connect, stream, *refusal, reader.state() == ClientHelloReader::State::complete);
      co_return;
    }
    auto event = event_of(connect, "tls", "allow");
    if (reader.state() == ClientHelloReader::State::complete) {
      event.ech = reader.hello().has_ech;
      if (reader.hello().server_name) event.sni = reader.hello().server_name->text();
    }
    if (!event.ech)
      event.detail = "no TLS";  // a recorded run alone comes here
    else if (!event.sni && !connect.target.host.is_ip())
      event.detail = "no SNI";
    connect.state->audit.write(event);
    relay_options.first_up = reader.received();
  }
  std::optional<HttpRequestGuard> guard;
  if (connect.target.port == kHttpPort && connect.verdict.http == policy::HttpMode::host) {
    guard.emplace(connect.target.host, connect.target.port);
    relay_options.guard = &*guard;
    relay_options.on_refused = [&connect, &guard] {
      auto detail = guard->problem();
      if (!guard->refused_host().empty()) detail += ": " + guard->refused_host();
      record_refusal(*connect.state, connect.id, connect.target.host.text(), connect.target.port,
                     {.event = "http",
                      .reason = Reason::http_host_mismatch,
                      .rule = connect.verdict.rule,
                      .detail = detail,
                      .address = connect.dialed->address.to_string()});
    };
  }
  count_allowed(connect);
  auto socket = std::move(connect.dialed->socket);
  const auto outcome = co_await relay(std::move(stream), std::move(socket), std::move(relay_options));
  record_close(connect, outcome);
}

// The gateway writes an audit line for each request.
Awaitable<void> serve_gateway(Connect& connect, channel::H2Stream stream) {
  auto& state = *connect.state;
  state.audit.write(event_of(connect, "connect", "allow"));
  count_allowed(connect);
  if (!stream.respond({{":status", "200"}}, channel::EndStream::no)) co_return;
  co_await state.options.gateway(std::move(stream), connect.id);
}

// Leaves a refusal in `connect` when there is one; else returns after the tunnel's end.
Awaitable<void> open_tunnel(Connect& connect, channel::H2Stream& stream) {
  using namespace asio::experimental::awaitable_operators;
  auto& state = *connect.state;
  ++state.open_connections;
  const base::Defer leave([&state] { --state.open_connections; });
  connect.refusal = judge_name(connect);
  if (connect.refusal) co_return;
  if (is_gateway(connect)) {
    co_await serve_gateway(connect, std::move(stream));
    co_return;
  }
  // A guest that gives up meanwhile ends the look-up and the attempts.
  co_await (establish(connect) || stream.wait_closed());
  if (connect.refusal) co_return;
  if (!connect.dialed) {
    // Nobody was refused anything, so this is for the audit log alone.
    state.audit.write({.event = "connect",
                       .action = "deny",
                       .connection = connect.id,
                       .host = connect.target.host.text(),
                       .port = connect.target.port,
                       .reason = to_string(Reason::cancelled),
                       .rule = connect.verdict.rule,
                       .detail = "the guest left before the connection was made"});
    co_return;
  }
  state.audit.write(event_of(connect, "connect", "allow"));
  if (stream.respond({{":status", "200"}}, channel::EndStream::no))
    co_await carry(connect, std::move(stream));
  else
    record_close(connect, {.end = "reset"});
}

}  // namespace

Awaitable<void> serve_connect(StatePtr state, channel::H2Stream stream) {
  const auto id = ++state->last_connection;
  const auto* header = channel::find_header(stream.headers(), ":authority");
  const std::string authority = header != nullptr ? *header : "";
  auto target = parse_connect_target(authority);
  if (!target) {
    record_refusal(*state, id, authority, 0, {.reason = Reason::invalid_host, .detail = target.error().message});
    co_await answer(std::move(stream), "400", Reason::invalid_host);
    co_return;
  }
  Connect connect{.state = state, .id = id, .target = std::move(*target)};
  co_await open_tunnel(connect, stream);
  if (!connect.refusal) co_return;
  record_refusal(*state, id, connect.target.host.text(), connect.target.port, *connect.refusal);
  co_await answer(std::move(stream), status_of(connect.refusal->reason), connect.refusal->reason);
}

}  // namespace cleanroom::egress
