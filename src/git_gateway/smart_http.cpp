// The two routes of smart HTTP (gitprotocol-http): the list of refs, where redirects are followed, and the exchange of
// packs, which streams.
#include "src/base/os/io.h"
#include "src/gateway/limits.h"
#include "src/git_gateway/advertisement_filter.h"
#include "src/git_gateway/gateway_state.h"
#include "src/git_gateway/limits.h"
#include "src/git_gateway/mirror.h"
#include "src/git_gateway/pkt_line.h"
#include "src/git_gateway/ref_scanner.h"

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Code;
using base::Result;
using gateway::MessageHead;

namespace {

std::string_view service_of(const GitRequest& git) {
  return git.push ? "git-receive-pack" : "git-upload-pack";
}

std::string advertisement_suffix(const GitRequest& git) {
  return fmt::format("/info/refs?service={}", service_of(git));
}

bool is_redirect(unsigned status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

base::Failure wrong_redirect(std::string message) {
  return base::fail(Code::policy_denied, "redirect_denied", std::move(message));
}

// Where an answer to the advertisement leads, when that is a repository that policy allows too.
Result<Place> follow(const GitExchange& exchange, const gateway::Location& from, const MessageHead& head) {
  const auto location = head.field("location");
  if (!location || location->empty()) return wrong_redirect("upstream redirects to nowhere");
  CR_ASSIGN(auto to, gateway::parse_location(*location, from));
  // A login page, a renamed service: whatever does not end as it began is no repository.
  const auto suffix = advertisement_suffix(exchange.git);
  if (!to.target.ends_with(suffix)) return wrong_redirect("upstream redirects to something that is no repository");
  Place place{.origin = to.origin, .target = to.target.substr(0, to.target.size() - suffix.size())};
  const auto path = gateway::parse_request_path(place.target);
  if (!path || path->text() != place.target || !path->query.empty())
    return wrong_redirect("upstream redirects to an odd path");
  if (place.origin.port != gateway::kHttpsPort) return wrong_redirect("upstream redirects to another port");
  const auto operation = exchange.git.push ? GitOperation::push : GitOperation::read;
  const auto verdict = exchange.state().parts.rules.judge(place.origin.host, repository_at(place), operation);
  if (verdict.allowed) return place;
  return wrong_redirect(fmt::format("upstream redirects to {}{}: {}", place.origin.text(), place.target,
                                    model::to_string(verdict.reason)));
}

Ask advertisement_ask(const GitExchange& exchange, const Place& place) {
  Ask out{.location = {.origin = place.origin, .target = place.target + advertisement_suffix(exchange.git)}};
  out.request.method = "GET";
  out.request.fields = upstream_fields(exchange.http.request(), "*/*");
  out.request.fields.push_back({"pragma", "no-cache"});
  return out;
}

// One hop. A credential that upstream refuses may have been replaced meanwhile: it is fetched anew once.
Awaitable<Result<MessageHead>> ask_for_refs(GitExchange& exchange, Place place) {
  for (bool again = false;; again = true) {
    CR_CO_TRY(co_await authorise(exchange, place.origin, repository_at(place)));
    auto question = advertisement_ask(exchange, place);
    CR_CO_ASSIGN(auto head, co_await ask(exchange, std::move(question)));
    if (head.status != 401 || !exchange.lookup.grant || again) co_return head;
    if (!exchange.state().parts.broker.forget(exchange.lookup.grant->binding_id)) co_return head;
    exchange.tunnel.upstream.reset();
  }
}

Awaitable<Result<MessageHead>> find_refs(GitExchange& exchange) {
  auto place = place_of(exchange);
  for (int hops = 0;; ++hops) {
    CR_CO_ASSIGN(auto head, co_await ask_for_refs(exchange, place));
    if (!is_redirect(head.status)) {
      if (hops > 0) remember_place(exchange, place);
      co_return head;
    }
    if (hops == gateway::kMaxRedirects) co_return wrong_redirect("upstream redirects too often");
    const auto from = advertisement_ask(exchange, place).location;
    CR_CO_ASSIGN(place, follow(exchange, from, head));
    // The body of a redirect is nobody's: the connection goes with it.
    exchange.tunnel.upstream.reset();
  }
}

Result<void> check_answer(const GitExchange& exchange, const MessageHead& head, std::string_view kind) {
  if (head.status != 200) return base::fail(refused_by_upstream(exchange, head.status));
  const auto expected = fmt::format("application/x-{}-{}", service_of(exchange.git), kind);
  // Anything else is dumb HTTP or a web page: git would go on to fetch objects by their names.
  if (head.field("content-type").value_or("") != expected)
    return base::fail(Code::unavailable, "upstream_invalid", "upstream does not speak git's smart HTTP here");
  const auto coding = head.field("content-encoding").value_or("?");
  if (!coding.empty() && coding != "identity")
    return base::fail(Code::unavailable, "upstream_invalid", "upstream encodes an answer although none was asked for");
  return {};
}

gateway::Answer answer_of(const MessageHead& head) {
  return {.status = 200,
          .fields = {{"content-type", std::string(head.field("content-type").value_or(""))},
                     {"cache-control", "no-cache"}}};
}

// Which refs a push means to change, for the audit log: "update refs/heads/main, ...".
std::string describe_push(std::string_view body) {
  constexpr std::size_t kShown = 10;
  std::string out;
  std::size_t count = 0;
  for (;;) {
    const auto packet = first_packet(body);
    if (!packet || !*packet || (*packet)->kind != Packet::Kind::data) break;
    auto text = packet_text(**packet);
    text = text.substr(0, text.find('\0'));
    body.remove_prefix((*packet)->size);
    if (text.starts_with("shallow ")) continue;
    // "OLD NEW REF", whatever the length of the object names.
    const auto first = text.find(' ');
    const auto second = first == std::string_view::npos ? first : text.find(' ', first + 1);
    if (second == std::string_view::npos) break;
    if (++count <= kShown) out += (out.empty() ? "update " : ", ") + std::string(text.substr(second + 1));
  }
  return count <= kShown ? out : out + fmt::format(" and {} more", count - kShown);
}

// `scanner` sees what passes; it may be null.
Awaitable<Result<void>> stream_answer(GitExchange& exchange, RefScanner* scanner) {
  std::vector<std::byte> buffer(gateway::kIoBuffer);
  for (;;) {
    CR_CO_ASSIGN(const auto n, co_await exchange.tunnel.upstream->read_body(buffer));
    if (n == 0) break;
    const auto piece = std::span<const std::byte>(buffer).first(n);
    if (scanner != nullptr) scanner->feed(base::as_text(piece));
    CR_CO_TRY(co_await exchange.http.write(piece));
  }
  exchange.tunnel.last_used = base::SteadyClock::now();
  co_return co_await exchange.http.finish();
}

Result<void> check_pack_request(const GitExchange& exchange) {
  const auto& head = exchange.http.request();
  const auto expected = fmt::format("application/x-{}-request", service_of(exchange.git));
  if (head.field("content-type").value_or("") != expected)
    return base::fail(Code::invalid_input, "gateway_request_invalid", "the request's content type is not git's");
  const auto coding = head.field("content-encoding").value_or("?");
  // Git compresses what it asks for, never what it pushes, and which refs a push names is for the audit log.
  if (!coding.empty() && (coding != "gzip" || exchange.git.push))
    return base::fail(Code::invalid_input, "gateway_request_invalid", "the request's content encoding is not git's");
  return {};
}

bool is_gzip(const GitExchange& exchange) {
  return exchange.http.request().field("content-encoding") == std::string_view("gzip");
}

// From guest to upstream and back. `body` is the request when it has been read already; else it streams.
Awaitable<Result<void>> relay_pack(GitExchange& exchange, Place place, const std::string* body, RefScanner* scanner) {
  Ask question{
      .location = {.origin = place.origin, .target = place.target + "/" + std::string(service_of(exchange.git))}};
  question.request.method = "POST";
  question.request.fields =
      upstream_fields(exchange.http.request(), fmt::format("application/x-{}-result", service_of(exchange.git)));
  question.request.fields.push_back(
      {"content-type", fmt::format("application/x-{}-request", service_of(exchange.git))});
  if (is_gzip(exchange)) question.request.fields.push_back({"content-encoding", "gzip"});
  question.body = body;
  if (body == nullptr) question.guest_body_limit = exchange.git.push ? kMaxPushBytes : kMaxUploadPackRequest;
  CR_CO_ASSIGN(const auto head, co_await ask(exchange, std::move(question)));
  if (exchange.git.push) exchange.note = describe_push(exchange.body_start);
  if (is_redirect(head.status)) co_return wrong_redirect("upstream redirects in the middle of an exchange");
  CR_CO_TRY(check_answer(exchange, head, "result"));
  auto answer = answer_of(head);
  answer.content_length = head.content_length;
  CR_CO_TRY(co_await exchange.http.respond(std::move(answer)));
  co_return co_await stream_answer(exchange, scanner);
}

// The same with a mirror beside upstream: it may answer a fetch, and learns from what upstream answers.
Awaitable<Result<void>> serve_mirrored_pack(GitExchange& exchange, Place place) {
  auto& mirrors = *exchange.state().mirrors;
  const auto key = mirror_key(exchange, place);
  CR_CO_ASSIGN(const auto body, co_await exchange.http.read_whole_body(kMaxMirrorRequest));
  const bool is_v2 = exchange.http.request().field("git-protocol") == std::string_view("version=2");
  auto plain = is_gzip(exchange) ? gunzip(body, kMaxMirrorInflated) : Result<std::string>(body);
  const auto request = plain ? parse_pack_request(*plain, is_v2) : PackRequest{};
  const bool is_fetch = request.kind == PackRequest::Kind::fetch;
  const bool may_serve = is_fetch && mirrors.may_serve(key, request.wants);
  if (request.kind != PackRequest::Kind::list_refs) exchange.cache = may_serve ? "miss" : "bypass";
  if (may_serve) {
    CR_CO_ASSIGN(const bool served, co_await mirrors.serve(exchange, key, *plain));
    if (served) {
      exchange.cache = "hit";
      co_return Result<void>{};
    }
  }
  RefScanner scanner;
  const bool lists = request.kind == PackRequest::Kind::list_refs;
  auto relayed = co_await relay_pack(exchange, place, &body, lists ? &scanner : nullptr);
  if (!relayed) {
    if (relayed.error().code == Code::policy_denied) mirrors.forget(key);
    co_return relayed;
  }
  if (lists) mirrors.remember(key, scanner.take());
  if (may_serve) mirrors.refresh(exchange, co_await base::asio::this_coro::executor, key, request.wants);
  co_return relayed;
}

}  // namespace

Awaitable<Result<void>> serve_advertisement(GitExchange& exchange) {
  CR_CO_ASSIGN(const auto head, co_await find_refs(exchange));
  auto* const mirrors = exchange.git.push ? nullptr : exchange.state().mirrors.get();
  const auto key = mirror_key(exchange, place_of(exchange));
  auto fine = check_answer(exchange, head, "advertisement");
  if (!fine && mirrors != nullptr) mirrors->forget(key);
  CR_CO_TRY(std::move(fine));
  auto answer = answer_of(head);
  CR_CO_TRY(co_await exchange.http.respond(std::move(answer)));
  AdvertisementFilter filter;
  RefScanner scanner;
  std::vector<std::byte> buffer(gateway::kIoBuffer);
  for (;;) {
    CR_CO_ASSIGN(const auto n, co_await exchange.tunnel.upstream->read_body(buffer));
    if (n == 0) break;
    const auto piece = base::as_text(std::span<const std::byte>(buffer).first(n));
    if (mirrors != nullptr) scanner.feed(piece);
    std::string out;
    CR_CO_TRY(filter.feed(piece, out));
    CR_CO_TRY(co_await exchange.http.write(base::as_bytes(out)));
  }
  CR_CO_TRY(filter.finish());
  if (mirrors != nullptr && !filter.is_v2()) mirrors->remember(key, scanner.take());
  exchange.tunnel.last_used = base::SteadyClock::now();
  co_return co_await exchange.http.finish();
}

Awaitable<Result<void>> serve_pack(GitExchange& exchange) {
  CR_CO_TRY(check_pack_request(exchange));
  const auto place = place_of(exchange);
  CR_CO_TRY(co_await authorise(exchange, place.origin, repository_at(place)));
  const auto& head = exchange.http.request();
  const bool small = head.content_length && *head.content_length <= kMaxMirrorRequest;
  if (exchange.state().mirrors && !exchange.git.push && small) co_return co_await serve_mirrored_pack(exchange, place);
  if (exchange.state().mirrors && !exchange.git.push) exchange.cache = "bypass";
  co_return co_await relay_pack(exchange, place, nullptr, nullptr);
}

}  // namespace cleanroom::git_gateway
