#include "src/egress/egress_server.h"

#include "src/base/async/event.h"
#include "src/egress/egress_state.h"
#include "src/egress/guest_text.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace cleanroom::egress {

using base::Awaitable;
using base::Result;
namespace asio = base::asio;

void record_refusal(EgressState& state, std::uint64_t connection, std::string_view host, std::uint16_t port,
                    const Refusal& refusal) {
  const auto shown = guest_text(host, model::kMaxNameBytes);
  AuditEvent event{.event = refusal.event,
                   .action = "deny",
                   .connection = connection,
                   .host = std::string(host),
                   .port = std::nullopt,
                   .address = refusal.address,
                   .reason = to_string(refusal.reason),
                   .rule = refusal.rule,
                   .detail = refusal.detail,
                   .sni = refusal.sni,
                   .ech = refusal.ech};
  if (port != 0) event.port = port;
  state.audit.write(event);
  const auto occurrence = state.tally.count(shown, port, refusal.reason, refusal.rule);
  if (state.on_denial)
    state.on_denial({.host = shown,
                     .port = port,
                     .reason = refusal.reason,
                     .rule = refusal.rule,
                     .detail = guest_text(refusal.detail, kMaxAuditFieldBytes),
                     .occurrence = occurrence});
}

Awaitable<void> answer(channel::H2Stream stream, std::string_view status, model::Reason reason) {
  using namespace asio::experimental::awaitable_operators;
  channel::Headers headers{{":status", std::string(status)}};
  if (reason != model::Reason::allowed) headers.push_back({"cleanroom-reason", std::string(to_string(reason))});
  if (!stream.respond(headers, channel::EndStream::yes)) co_return;
  // The stream's destructor resets it, and a reset overtakes an answer that is not sent yet.
  asio::steady_timer limit(co_await asio::this_coro::executor, kAnswerLimit);
  co_await (stream.wait_closed() || limit.async_wait(base::kTuple));
}

Awaitable<void> serve_request(StatePtr state, channel::H2Stream stream) {
  const auto* method = channel::find_header(stream.headers(), ":method");
  const auto* path = channel::find_header(stream.headers(), ":path");
  if (method != nullptr && *method == "CONNECT") {
    co_await serve_connect(std::move(state), std::move(stream));
  } else if (method != nullptr && *method == "POST" && path != nullptr && *path == "/v1/report") {
    co_await serve_report(std::move(state), std::move(stream));
  } else {
    co_await answer(std::move(stream), "404", model::Reason::allowed);
  }
}

EgressServer::EgressServer(policy::NetworkRules rules, Resolver& resolver, Dialer& dialer, AuditLog& audit,
                           DenialSink on_denial, EgressOptions options)
    : state_(std::make_shared<EgressState>(std::move(rules), resolver, dialer, audit, std::move(on_denial),
                                           std::move(options))) {}

EgressServer::~EgressServer() {
  close();
}

namespace {

// What serve() waits for besides the next request.
struct Running {
  explicit Running(const asio::any_io_executor& executor) : changed(executor) {}
  std::size_t requests = 0;
  bool connection_ended = false;
  Result<void> outcome;
  base::Event changed;
};

Awaitable<void> run_connection(std::shared_ptr<channel::H2Connection> connection, std::shared_ptr<Running> running) {
  running->outcome = co_await connection->run();
  running->connection_ended = true;
  running->changed.notify_all();
}

}  // namespace

Awaitable<Result<void>> EgressServer::serve(channel::StreamSocket socket) {
  const auto state = state_;
  const auto executor = co_await asio::this_coro::executor;
  const auto connection =
      channel::H2Connection::create(std::move(socket), channel::Role::server, state->options.stream_limits);
  state->connections.insert(connection);
  const auto running = std::make_shared<Running>(executor);
  asio::co_spawn(executor, run_connection(connection, running), asio::detached);
  for (;;) {
    auto stream = co_await connection->accept();
    if (!stream) break;
    // Not accepting is what holds a flooding guest back: its streams stay open and its requests wait.
    const auto start = state->requests.reserve(base::SteadyClock::now());
    if (start > base::SteadyClock::now()) co_await asio::steady_timer(executor, start).async_wait(base::kTuple);
    ++running->requests;
    asio::co_spawn(executor, serve_request(state, std::move(*stream)), [running](const std::exception_ptr&) {
      --running->requests;
      running->changed.notify_all();
    });
  }
  while (running->requests > 0 || !running->connection_ended)
    co_await running->changed.wait();
  state->connections.erase(connection);
  co_return std::move(running->outcome);
}

void EgressServer::close() {
  const auto connections = state_->connections;
  for (const auto& connection : connections)
    connection->close();
}

Summary EgressServer::summary() const {
  auto summary = state_->tally.summary();
  summary.open_connections = state_->open_connections;
  summary.audit_lost = state_->audit.counters().lost;
  return summary;
}

}  // namespace cleanroom::egress
