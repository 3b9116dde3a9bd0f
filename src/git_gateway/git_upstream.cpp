// Asking upstream: which credential, on which connection, and what its refusals mean.
#include "src/base/os/ascii.h"
#include "src/base/os/io.h"
#include "src/gateway/limits.h"
#include "src/git_gateway/gateway_state.h"
#include "src/git_gateway/git_request.h"
#include "src/git_gateway/limits.h"

#include <algorithm>

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Code;
using base::Result;
using gateway::MessageHead;
using gateway::UpstreamConnection;

namespace {

// A server may close a connection that rests; a body that has been streamed cannot be sent again.
constexpr std::chrono::seconds kReuseWithin{2};

std::string place_key(const GitRequest& git) {
  // A redirect was judged for what was asked for then: one of reading is none of pushing.
  return git.host.text() + git.repository_path() + (git.push ? " push" : "");
}

void record_use(const GitExchange& exchange, const gateway::Origin& origin, const std::string& repository) {
  const auto& grant = *exchange.lookup.grant;
  egress::AuditEvent event{.event = "credential",
                           .action = "allow",
                           .connection = exchange.http.connection_id(),
                           .host = origin.host.text(),
                           .port = origin.port,
                           .reason = model::to_string(model::Reason::allowed)};
  event.service = "git";
  event.method =
      credentials::to_string(exchange.git.push ? credentials::Method::git_push : credentials::Method::git_read);
  event.path = "/" + repository;
  event.binding = grant.binding_id;
  event.source = credentials::to_string(grant.source);
  exchange.state().parts.audit.write(event);
}

Awaitable<Result<void>> connect(GitExchange& exchange, gateway::Origin origin) {
  auto& tunnel = exchange.tunnel;
  const bool fresh = base::SteadyClock::now() - tunnel.last_used < kReuseWithin;
  const bool fits = tunnel.upstream && tunnel.upstream->is_reusable() && tunnel.upstream->origin() == origin;
  if (!fits || !fresh) {
    tunnel.upstream.reset();
    CR_CO_ASSIGN(tunnel.upstream,
                 co_await UpstreamConnection::open(exchange.state().parts.upstream, std::move(origin)));
  }
  exchange.address = tunnel.upstream->address().to_string();
  co_return Result<void>{};
}

Awaitable<Result<void>> send_guest_body(GitExchange& exchange, std::uint64_t limit) {
  auto& upstream = *exchange.tunnel.upstream;
  std::vector<std::byte> buffer(gateway::kIoBuffer);
  for (;;) {
    CR_CO_ASSIGN(const auto n, co_await exchange.http.read_body(buffer));
    if (n == 0) break;
    if (exchange.http.bytes_up() > limit)
      co_return base::fail(Code::invalid_input, "gateway_limit", "the request's body is larger than the limit");
    const auto piece = std::span<const std::byte>(buffer).first(n);
    if (exchange.git.push && exchange.body_start.size() < gateway::kIoBuffer)
      exchange.body_start += base::as_text(piece);
    CR_CO_TRY(co_await upstream.send_body(piece));
  }
  co_return co_await upstream.finish_body();
}

}  // namespace

Awaitable<Result<void>> authorise(GitExchange& exchange, const gateway::Origin& origin, std::string repository) {
  credentials::Request request{
      .host = origin.host,
      .port = origin.port,
      .path = repository,
      .method = exchange.git.push ? credentials::Method::git_push : credentials::Method::git_read};
  auto finding = exchange.state().parts.broker.find(std::move(request), base::deadline_in(gateway::kCredentialLimit));
  CR_CO_ASSIGN(exchange.lookup, co_await std::move(finding));
  if (exchange.lookup.grant) record_use(exchange, origin, repository);
  co_return Result<void>{};
}

Awaitable<Result<MessageHead>> ask(GitExchange& exchange, Ask ask) {
  CR_CO_TRY(co_await connect(exchange, ask.location.origin));
  auto& upstream = *exchange.tunnel.upstream;
  ask.request.target = ask.location.target;
  if (exchange.lookup.grant) {
    const auto& grant = *exchange.lookup.grant;
    ask.request.secret_fields.emplace_back(grant.header_name, grant.header_value.reveal());
  }
  if (ask.guest_body_limit > 0) {
    ask.request.content_length = exchange.http.request().content_length;
    ask.request.chunked = exchange.http.request().chunked;
    if (ask.request.content_length.value_or(0) > ask.guest_body_limit)
      co_return base::fail(Code::invalid_input, "gateway_limit", "the request's body is larger than the limit");
  }
  if (ask.body != nullptr) ask.request.content_length = ask.body->size();
  CR_CO_TRY(co_await upstream.send(ask.request));
  if (ask.body != nullptr) CR_CO_TRY(co_await upstream.send_body(base::as_bytes(*ask.body)));
  if (ask.guest_body_limit > 0) {
    auto sent = co_await send_guest_body(exchange, ask.guest_body_limit);
    // Upstream may have answered (413, 401) and closed before it had all: then the answer says why.
    if (!sent && sent.error().reason != "upstream_invalid") co_return base::fail(std::move(sent).error());
  }
  auto head = co_await upstream.read_head();
  exchange.tunnel.last_used = base::SteadyClock::now();
  co_return head;
}

std::vector<gateway::Field> upstream_fields(const MessageHead& guest, std::string_view accept) {
  std::vector<gateway::Field> fields{{"accept", std::string(accept)}};
  // Known values only: nothing that a guest makes up goes beyond this host in a header.
  const auto protocol = guest.field("git-protocol").value_or("");
  if (protocol == "version=1" || protocol == "version=2") fields.push_back({"git-protocol", std::string(protocol)});
  const auto agent = guest.field("user-agent").value_or("");
  const bool plain =
      agent.size() <= 64 && std::all_of(agent.begin(), agent.end(), [](char c) {
        return base::is_ascii_alnum(c) || std::string_view("./-_ ()+;").find(c) != std::string_view::npos;
      });
  // Some hosts answer git differently from a browser.
  fields.push_back({"user-agent", plain && agent.starts_with("git") ? std::string(agent) : "git/cleanroom"});
  return fields;
}

base::Error refused_by_upstream(const GitExchange& exchange, unsigned status) {
  const auto what = fmt::format("upstream answered {}", status);
  if (status != 401 && status != 403 && status != 404) return {Code::unavailable, "upstream_invalid", what};
  if (exchange.lookup.grant)
    return {Code::policy_denied, "upstream_unauthorized",
            fmt::format("{} to credential binding '{}'", what, exchange.lookup.grant->binding_id)};
  if (exchange.lookup.kind == credentials::Choice::Kind::out_of_scope)
    return {Code::policy_denied, "secret_scope_violation", fmt::format("{}; {}", what, exchange.lookup.why)};
  return {Code::policy_denied, "upstream_unauthorized", fmt::format("{}, and no binding names this host", what)};
}

Place place_of(const GitExchange& exchange) {
  const auto& moves = exchange.state().moves;
  if (const auto found = moves.find(place_key(exchange.git)); found != moves.end()) return found->second;
  return {.origin = {.host = exchange.git.host}, .target = exchange.git.repository_path()};
}

std::string repository_at(const Place& place) {
  auto path = place.target.substr(1);
  if (path.ends_with(kDotGit)) path.resize(path.size() - kDotGit.size());
  return path;
}

void remember_place(GitExchange& exchange, Place place) {
  auto& moves = exchange.state().moves;
  if (moves.size() < kMaxKnownMoves) moves.insert_or_assign(place_key(exchange.git), std::move(place));
}

}  // namespace cleanroom::git_gateway
