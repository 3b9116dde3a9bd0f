// LFS downloads (git-lfs docs/api/batch.md, basic transfers). Upstream's addresses and headers stay on the host: the
// guest gets one address of the gateway for each object, and bytes whose SHA-256 is the object's name.
#include "src/base/net/sha256.h"
#include "src/base/os/ascii.h"
#include "src/base/os/defer.h"
#include "src/base/os/io.h"
#include "src/base/text/json.h"
#include "src/gateway/limits.h"
#include "src/git_gateway/gateway_state.h"
#include "src/git_gateway/limits.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Code;
using base::Json;
using base::Result;
using gateway::MessageHead;

namespace {

constexpr std::string_view kMediaType = "application/vnd.git-lfs+json";
constexpr base::JsonLimits kAnswerLimits{.max_bytes = kMaxLfsAnswer, .max_depth = 16, .max_values = 200'000};

base::Failure bad_request(std::string message) {
  return base::fail(Code::invalid_input, "gateway_request_invalid", std::move(message));
}

base::Failure bad_answer(std::string message) {
  return base::fail(Code::unavailable, "upstream_invalid", std::move(message));
}

std::string object_key(const GitExchange& exchange, std::string_view oid) {
  return exchange.name() + " " + std::string(oid);
}

std::optional<std::string> text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<std::uint64_t> size_of(const Json& object) {
  const auto found = object.find("size");
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

// What upstream gets to see: a batch of ours, with nothing in it but names and sizes.
Result<std::string> rebuild_request(const std::string& text) {
  auto asked = base::parse_json(text, "LFS request", {.max_bytes = kMaxLfsRequest, .max_depth = 8});
  if (!asked || !asked->is_object()) return bad_request("the LFS request is not a JSON object");
  if (text_of(*asked, "operation") != "download")
    return base::fail(Code::policy_denied, "git_push_not_allowed", "LFS uploads are not served");
  const auto algorithm = text_of(*asked, "hash_algo").value_or("sha256");
  const auto objects = asked->find("objects");
  if (algorithm != "sha256" || objects == asked->end() || !objects->is_array() || objects->size() > kMaxLfsObjects)
    return bad_request("the LFS request lists no objects that could be served");
  Json out{{"operation", "download"}, {"transfers", {"basic"}}, {"hash_algo", "sha256"}, {"objects", Json::array()}};
  for (const auto& object : *objects) {
    const auto oid = object.is_object() ? text_of(object, "oid") : std::nullopt;
    const auto size = object.is_object() ? size_of(object) : std::nullopt;
    if (!oid || !is_lfs_oid(*oid) || !size) return bad_request("an object of the LFS request has no name or size");
    out["objects"].push_back({{"oid", *oid}, {"size", *size}});
  }
  return base::canonical_json(out);
}

bool is_sendable(std::string_view name, std::string_view value) {
  constexpr std::string_view kOurs[] = {
      "host", "connection", "content-length", "transfer-encoding", "upgrade", "content-encoding",
      "te",   "trailer",    "expect"};
  const bool token = !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
    return base::is_ascii_alnum(c) || c == '-' || c == '_';
  });
  return token && std::find(std::begin(kOurs), std::end(kOurs), base::ascii_lower(name)) == std::end(kOurs) &&
         base::is_ascii_printable(value);
}

// Upstream names the server of the bytes. It has to be one that the job may reach anyway: its own host, or one that
// policy opens.
Result<void> judge_server(const GitExchange& exchange, const gateway::Location& location) {
  if (location.origin.host == exchange.git.host && location.origin.port == gateway::kHttpsPort) return {};
  if (exchange.state().parts.rules.opens(location.origin.host, location.origin.port)) return {};
  return base::fail(
      Code::policy_denied, "redirect_denied",
      fmt::format("upstream keeps this object at {}, which network.allow does not name", location.origin.text()));
}

// Remembers where an object is. False: upstream's answer about it cannot be used. An address that policy does not open
// fails here, with the whole batch: git-lfs asks again for minutes when a single object is refused.
Result<bool> remember(GitExchange& exchange, const gateway::Location& base, const std::string& oid, std::uint64_t size,
                      const Json& download) {
  const auto href = download.is_object() ? text_of(download, "href") : std::nullopt;
  auto location = href ? gateway::parse_location(*href, base) : bad_answer("no href");
  if (!location) return false;
  CR_TRY(judge_server(exchange, *location));
  LfsObject object{.location = std::move(*location), .fields = {}, .size = size};
  std::size_t field_bytes = 0;
  if (const auto header = download.find("header"); header != download.end() && header->is_object()) {
    if (header->size() > kMaxLfsFields) return false;
    for (const auto& [name, value] : header->items()) {
      if (!value.is_string() || !is_sendable(name, value.get_ref<const std::string&>())) return false;
      field_bytes += name.size() + value.get_ref<const std::string&>().size();
      object.fields.emplace_back(name, base::Secret(value.get<std::string>()));
    }
  }
  auto& objects = exchange.state().objects;
  const auto key = object_key(exchange, oid);
  const auto bytes = key.size() + object.location.target.size() + field_bytes;
  // Counted also where it replaces another: a server that names an object over and over fills the budget as well.
  if (field_bytes > kMaxLfsFieldBytes || exchange.state().lfs_bytes + bytes > kMaxKnownLfsBytes) return false;
  if (objects.size() >= kMaxKnownLfsObjects && !objects.contains(key)) return false;
  exchange.state().lfs_bytes += bytes;
  objects.insert_or_assign(key, std::make_shared<const LfsObject>(std::move(object)));
  return true;
}

Json object_error(int code, const char* message) {
  return {{"code", code}, {"message", message}};
}

// The guest's view of one object of upstream's answer.
Result<Json> guest_object(GitExchange& exchange, const gateway::Location& base, const Json& object) {
  const auto oid = object.is_object() ? text_of(object, "oid") : std::nullopt;
  const auto size = object.is_object() ? size_of(object) : std::nullopt;
  if (!oid || !is_lfs_oid(*oid) || !size) return bad_answer("an object of upstream's LFS answer has no name or size");
  Json out{{"oid", *oid}, {"size", *size}, {"authenticated", true}};
  const auto actions = object.find("actions");
  if (actions == object.end() || !actions->is_object() || !actions->contains("download")) {
    out["error"] = object_error(404, "upstream does not have this object");
    return out;
  }
  CR_ASSIGN(const bool usable, remember(exchange, base, *oid, *size, actions->at("download")));
  if (!usable) {
    out["error"] = object_error(502, "cleanroom cannot use upstream's address of this object");
  } else {
    const auto href = fmt::format("http://{}/git/{}{}/info/lfs/objects/{}", egress::kGatewayHost,
                                  exchange.git.host.text(), exchange.git.repository_path(), *oid);
    out["actions"] = {{"download", {{"href", href}}}};
  }
  return out;
}

Result<std::string> rewrite_answer(GitExchange& exchange, const gateway::Location& base, const std::string& text) {
  const auto answer = base::parse_json(text, "LFS answer", kAnswerLimits);
  if (!answer || !answer->is_object()) return bad_answer("upstream's LFS answer is not a JSON object");
  if (text_of(*answer, "transfer").value_or("basic") != "basic")
    return bad_answer("upstream offers another LFS transfer than was asked for");
  const auto objects = answer->find("objects");
  if (objects == answer->end() || !objects->is_array() || objects->size() > kMaxLfsObjects)
    return bad_answer("upstream's LFS answer lists no objects");
  Json out{{"transfer", "basic"}, {"hash_algo", "sha256"}, {"objects", Json::array()}};
  for (const auto& object : *objects) {
    CR_ASSIGN(auto shown, guest_object(exchange, base, object));
    out["objects"].push_back(std::move(shown));
  }
  return base::canonical_json(out);
}

Ask object_ask(const GitExchange& exchange, const LfsObject& object, const gateway::Location& location) {
  Ask out{.location = location};
  out.request.method = "GET";
  out.request.fields = upstream_fields(exchange.http.request(), "*/*");
  // Fields that upstream gave for one origin go to no other.
  if (location.origin == object.location.origin) {
    for (const auto& [name, value] : object.fields)
      out.request.secret_fields.push_back({name, value.reveal()});
  }
  return out;
}

Awaitable<Result<MessageHead>> find_object(GitExchange& exchange, const LfsObject& object) {
  auto location = object.location;
  for (int hops = 0; hops <= gateway::kMaxRedirects; ++hops) {
    CR_CO_TRY(judge_server(exchange, location));
    auto question = object_ask(exchange, object, location);
    CR_CO_ASSIGN(auto head, co_await ask(exchange, std::move(question)));
    if (head.status < 300 || head.status >= 400) co_return head;
    const auto next = head.field("location");
    if (!next || next->empty()) co_return bad_answer("upstream redirects an LFS object to nowhere");
    CR_CO_ASSIGN(location, gateway::parse_location(*next, location));
    exchange.tunnel.upstream.reset();
  }
  co_return base::fail(Code::policy_denied, "redirect_denied", "upstream redirects an LFS object too often");
}

gateway::Answer object_answer(std::uint64_t size) {
  return {.status = 200, .fields = {{"content-type", "application/octet-stream"}}, .content_length = size};
}

// The last piece is held back until all of it has the right hash: a guest never has a whole object that is not the one.
// The head goes out with the first piece, for an object of no bytes is whole with it.
Awaitable<Result<void>> stream_verified(GitExchange& exchange, std::uint64_t size) {
  base::Sha256 hash;
  std::uint64_t received = 0;
  std::vector<std::byte> held;
  std::vector<std::byte> buffer(gateway::kIoBuffer);
  for (;;) {
    CR_CO_ASSIGN(const auto n, co_await exchange.tunnel.upstream->read_body(buffer));
    if (n == 0) break;
    received += n;
    if (received > size) co_return bad_answer("an LFS object is larger than announced");
    const auto piece = std::span<const std::byte>(buffer).first(n);
    hash.update(piece);
    if (!exchange.http.has_responded()) {
      auto answer = object_answer(size);
      CR_CO_TRY(co_await exchange.http.respond(std::move(answer)));
    }
    CR_CO_TRY(co_await exchange.http.write(held));
    held.assign(piece.begin(), piece.end());
  }
  if (received != size || hash.finish_hex() != exchange.git.oid)
    co_return bad_answer("an LFS object does not have the hash that names it");
  if (!exchange.http.has_responded()) {
    auto answer = object_answer(size);
    CR_CO_TRY(co_await exchange.http.respond(std::move(answer)));
  }
  CR_CO_TRY(co_await exchange.http.write(held));
  co_return co_await exchange.http.finish();
}

}  // namespace

Awaitable<Result<void>> serve_lfs_batch(GitExchange& exchange) {
  auto& batches = exchange.state().lfs_batches;
  if (batches >= kMaxLfsBatches)
    co_return base::fail(Code::policy_denied, "gateway_limit", "too many LFS batches at a time");
  ++batches;
  const base::Defer leave([&batches] { --batches; });
  CR_CO_ASSIGN(const auto asked, co_await exchange.http.read_whole_body(kMaxLfsRequest));
  CR_CO_ASSIGN(const auto body, rebuild_request(asked));
  const auto place = place_of(exchange);
  // Where a fetch was redirected to, LFS may be off.
  if (!exchange.state().parts.rules.judge(place.origin.host, repository_at(place), GitOperation::lfs).allowed)
    co_return base::fail(Code::policy_denied, "git_lfs_not_allowed", "LFS is off where upstream keeps the repository");
  // LFS lives below the spelling with .git (git-lfs docs/api/server-discovery.md).
  const auto path = place.target + (place.target.ends_with(".git") ? "" : ".git");
  CR_CO_TRY(co_await authorise(exchange, place.origin, repository_at(place)));
  Ask question{.location = {.origin = place.origin, .target = path + "/info/lfs/objects/batch"}};
  question.request.method = "POST";
  question.request.fields = upstream_fields(exchange.http.request(), kMediaType);
  question.request.fields.push_back({"content-type", std::string(kMediaType)});
  question.body = &body;
  const auto base = question.location;
  CR_CO_ASSIGN(const auto head, co_await ask(exchange, std::move(question)));
  if (head.status != 200) co_return base::fail(refused_by_upstream(exchange, head.status));
  CR_CO_ASSIGN(const auto text, co_await read_whole_body(*exchange.tunnel.upstream, kMaxLfsAnswer));
  CR_CO_ASSIGN(const auto answer, rewrite_answer(exchange, base, text));
  gateway::Answer shown{
      .status = 200, .fields = {{"content-type", std::string(kMediaType)}}, .content_length = answer.size()};
  CR_CO_TRY(co_await exchange.http.respond(std::move(shown)));
  CR_CO_TRY(co_await exchange.http.write(base::as_bytes(answer)));
  co_return co_await exchange.http.finish();
}

Awaitable<Result<void>> serve_lfs_object(GitExchange& exchange) {
  const auto& objects = exchange.state().objects;
  const auto found = objects.find(object_key(exchange, exchange.git.oid));
  if (found == objects.end())
    co_return base::fail(Code::policy_denied, "gateway_route_unknown", "no batch of this run named this LFS object");
  const auto object = found->second;
  CR_CO_ASSIGN(const auto head, co_await find_object(exchange, *object));
  if (head.status != 200) co_return base::fail(refused_by_upstream(exchange, head.status));
  co_return co_await stream_verified(exchange, object->size);
}

}  // namespace cleanroom::git_gateway
