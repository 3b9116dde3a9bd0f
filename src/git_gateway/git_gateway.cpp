#include "src/git_gateway/git_gateway.h"

#include "src/base/async/event.h"
#include "src/base/os/defer.h"
#include "src/base/os/io.h"
#include "src/egress/guest_text.h"
#include "src/egress/limits.h"
#include "src/git_gateway/gateway_state.h"
#include "src/git_gateway/mirror.h"
#include "src/git_gateway/pkt_line.h"

#include <algorithm>
#include <array>

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Result;
using model::Reason;

namespace {

constexpr std::string_view kService = "git";

Reason reason_of(const base::Error& error) {
  if (const auto reason = model::parse_reason(error.reason)) return *reason;
  return error.code == base::Code::timeout ? Reason::connect_failed : Reason::internal_error;
}

// Refusals of policy or upstream's, as against failures.
bool is_denial(Reason reason) {
  constexpr std::array kDenials{Reason::host_not_allowed,      Reason::host_denied,
                                Reason::port_not_allowed,      Reason::ip_denied,
                                Reason::gateway_route_unknown, Reason::git_repository_not_allowed,
                                Reason::git_push_not_allowed,  Reason::git_lfs_not_allowed,
                                Reason::redirect_denied,       Reason::secret_scope_violation,
                                Reason::upstream_unauthorized};
  return std::find(kDenials.begin(), kDenials.end(), reason) != kDenials.end();
}

// 403, never 401: git would ask for a password, and others would start a token dance (gitprotocol-http,
// "Authentication").
unsigned status_of(Reason reason) {
  if (reason == Reason::gateway_request_invalid || reason == Reason::invalid_host) return 400;
  if (reason == Reason::gateway_limit) return 413;
  if (reason == Reason::credential_unavailable) return 503;
  return is_denial(reason) ? 403 : 502;
}

std::string_view hint_of(Reason reason) {
  if (reason == Reason::secret_scope_violation)
    return "the operator's credentials for this host are not for this repository or this job";
  if (reason == Reason::upstream_unauthorized) return "it does not exist, or reading it takes a credential";
  if (reason == Reason::credential_unavailable) return "the operator's credential could not be had";
  return "";
}

// For the guest: our own words. What upstream, OpenSSL or a resolver said stays in the audit log.
std::string guest_message(std::string_view name, Reason reason, std::string_view detail) {
  auto text = fmt::format("cleanroom: {}{}{}", name, name.empty() ? "" : ": ", model::to_string(reason));
  if (!detail.empty()) text += fmt::format(" ({})", detail);
  return text;
}

// `git` is null for a request that named no repository.
void deny(GatewayState& state, const GitRequest* git, Reason reason, std::string detail) {
  if (!state.parts.on_denial) return;
  GitDenial denial{.reason = reason, .detail = egress::guest_text(detail, egress::kMaxAuditFieldBytes)};
  if (git != nullptr) {
    denial.host = git->host.text();
    denial.repository = git->repository;
  }
  denial.is_first = state.denied.size() < egress::kMaxSummaryEntries &&
                    state.denied.emplace(denial.host + "/" + denial.repository, reason).second;
  state.parts.on_denial(denial);
}

egress::AuditEvent event_of(const gateway::HttpExchange& http, Reason reason) {
  egress::AuditEvent event{.event = "gateway",
                           .action = reason == Reason::allowed ? "allow" : "deny",
                           .connection = http.connection_id(),
                           .reason = model::to_string(reason)};
  event.service = kService;
  event.method = http.request().method;
  event.bytes_up = http.bytes_up();
  event.bytes_down = http.bytes_down();
  if (http.has_responded()) event.status = http.status();
  return event;
}

void record(const GitExchange& exchange) {
  if (exchange.state().closed) return;
  auto event = event_of(exchange.http, exchange.outcome);
  event.host = exchange.git.host.text();
  event.port = gateway::kHttpsPort;
  event.address = exchange.address;
  event.rule = exchange.verdict.rule;
  event.path = exchange.git.repository_path();
  event.detail = exchange.note;
  if (!exchange.outcome_detail.empty()) event.detail += (event.detail.empty() ? "" : "; ") + exchange.outcome_detail;
  event.cache = exchange.cache;
  if (exchange.lookup.grant) event.binding = exchange.lookup.grant->binding_id;
  event.duration_ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(base::SteadyClock::now() - exchange.started).count());
  exchange.state().parts.audit.write(event);
}

// A pack request cannot carry text beside a status: git shows it only in the protocol itself (gitprotocol-pack).
Awaitable<Result<void>> say_refused(gateway::HttpExchange& http, bool in_protocol, Reason reason, std::string text) {
  if (!in_protocol) co_return co_await http.respond_text(status_of(reason), reason, std::move(text));
  const auto body = data_packet("ERR " + text + "\n");
  gateway::Answer answer{.status = 200,
                         .fields = {{"content-type", "application/x-git-upload-pack-result"},
                                    {"cleanroom-reason", std::string(model::to_string(reason))},
                                    {"cache-control", "no-cache"}},
                         .content_length = body.size()};
  CR_CO_TRY(co_await http.respond(std::move(answer)));
  CR_CO_TRY(co_await http.write(base::as_bytes(body)));
  co_return co_await http.finish();
}

// Before there is a GitExchange: the request names nothing that could be judged.
Awaitable<void> refuse_request(GatewayState& state, gateway::HttpExchange& http, base::Error error) {
  const auto reason = reason_of(error);
  const base::Defer record_it([&] {
    if (state.closed) return;
    auto event = event_of(http, reason);
    event.path = http.request().target.substr(0, http.request().target.find('?'));
    event.detail = error.message;
    state.parts.audit.write(event);
  });
  deny(state, nullptr, reason, error.message);
  (void)co_await say_refused(http, false, reason, guest_message("", reason, error.message));
}

Awaitable<void> refuse(GitExchange& exchange, base::Error error) {
  const auto reason = reason_of(error);
  exchange.outcome = reason;
  exchange.outcome_detail = error.describe();
  deny(exchange.state(), &exchange.git, reason, error.describe());
  // Half an answer cannot become a refusal any more; not finishing it is what the guest sees.
  if (!exchange.http.has_responded()) {
    const auto shown = exchange.verdict.allowed ? std::string(hint_of(reason)) : exchange.verdict.detail;
    // What sends broken HTTP is not git, and a proxy in front of git may know a 400.
    const bool in_protocol =
        exchange.git.route == GitRoute::pack && !exchange.git.push && reason != Reason::gateway_request_invalid;
    (void)co_await say_refused(exchange.http, in_protocol, reason, guest_message(exchange.name(), reason, shown));
  }
}

GitOperation operation_of(const GitRequest& git) {
  if (git.route == GitRoute::lfs_batch || git.route == GitRoute::lfs_object) return GitOperation::lfs;
  return git.push ? GitOperation::push : GitOperation::read;
}

Awaitable<Result<void>> serve(GitExchange& exchange) {
  switch (exchange.git.route) {
    case GitRoute::advertisement:
      co_return co_await serve_advertisement(exchange);
    case GitRoute::pack:
      co_return co_await serve_pack(exchange);
    case GitRoute::lfs_batch:
      co_return co_await serve_lfs_batch(exchange);
    case GitRoute::lfs_object:
      co_return co_await serve_lfs_object(exchange);
  }
  co_return Result<void>{};
}

Awaitable<void> handle(Tunnel& tunnel, gateway::HttpExchange& http) {
  const auto turn = tunnel.state->requests.reserve(base::SteadyClock::now());
  if (turn > base::SteadyClock::now()) co_await base::sleep_until(turn);
  auto path = gateway::parse_request_path(http.request().target);
  if (path && path->segments[0] != kService)
    path = base::fail(base::Code::invalid_input, "gateway_request_invalid", "the gateway has no such service");
  auto git = path ? parse_git_request(http.request().method, *path) : base::fail(path.error());
  if (!git) {
    co_await refuse_request(*tunnel.state, http, std::move(git).error());
    co_return;
  }
  GitExchange exchange{.tunnel = tunnel, .http = http, .git = std::move(*git)};
  // One line a request, also when the guest's leaving ends it in the middle.
  const base::Defer record_it([&exchange] { record(exchange); });
  exchange.verdict =
      tunnel.state->parts.rules.judge(exchange.git.host, exchange.git.repository, operation_of(exchange.git));
  if (!exchange.verdict.allowed) {
    base::Error denied(base::Code::policy_denied, std::string(model::to_string(exchange.verdict.reason)),
                       exchange.verdict.detail);
    co_await refuse(exchange, std::move(denied));
    co_return;
  }
  auto served = co_await serve(exchange);
  if (served)
    exchange.outcome = Reason::allowed;
  else
    co_await refuse(exchange, std::move(served).error());
  // Half a request, or an answer that nobody read on: upstream need not wait for the guest to end the tunnel.
  if (tunnel.upstream && !tunnel.upstream->is_reusable()) tunnel.upstream.reset();
}

Awaitable<void> serve_tunnel(StatePtr state, channel::H2Stream stream, std::uint64_t connection) {
  Tunnel tunnel{.state = state};
  const gateway::HttpHandler handler = [&tunnel](gateway::HttpExchange& http) { return handle(tunnel, http); };
  const auto on_malformed = [state, connection](std::string_view problem) {
    egress::AuditEvent event{.event = "gateway",
                             .action = "deny",
                             .connection = connection,
                             .reason = model::to_string(Reason::gateway_request_invalid),
                             .detail = std::string(problem)};
    event.service = kService;
    state->parts.audit.write(event);
    deny(*state, nullptr, Reason::gateway_request_invalid, std::string(problem));
  };
  const auto host = model::HostName::parse(egress::kGatewayHost);
  co_await gateway::serve_http(std::move(stream), connection, *host, handler, on_malformed);
}

}  // namespace

GatewayState::GatewayState(GitGatewayParts p) : parts(std::move(p)) {
  if (parts.mirrors && parts.pool != nullptr) mirrors = std::make_unique<Mirrors>(*parts.mirrors, *parts.pool);
}

GatewayState::~GatewayState() = default;

GitGateway::GitGateway(GitGatewayParts parts) : state_(std::make_shared<GatewayState>(std::move(parts))) {}

GitGateway::~GitGateway() {
  state_->closed = true;
  if (state_->mirrors) state_->mirrors->cancel();
}

egress::GatewayHandler GitGateway::handler() {
  return [state = state_](channel::H2Stream stream, std::uint64_t connection) {
    return serve_tunnel(state, std::move(stream), connection);
  };
}

}  // namespace cleanroom::git_gateway
