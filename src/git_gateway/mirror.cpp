#include "src/git_gateway/mirror.h"

#include "src/base/os/defer.h"
#include "src/git_gateway/limits.h"
#include "src/git_gateway/mirror_answer.h"

#include <boost/asio/bind_cancellation_slot.hpp>

#include <algorithm>

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Result;
namespace asio = base::asio;

std::string scope_of(const credentials::Lookup& lookup) {
  return lookup.grant ? "binding " + lookup.grant->binding_id : "anonymous";
}

MirrorKey mirror_key(const GitExchange& exchange, const Place& place) {
  return {.place = place.origin.text() + place.target, .scope = scope_of(exchange.lookup)};
}

void Mirrors::cancel() {
  for (const auto& [key, refresh] : refreshes_)
    refresh->cancel.emit(asio::cancellation_type::terminal);
}

// Lists add up while they are fresh: a guest may ask for what the last but one named, and be raced by a force push.
void Mirrors::remember(const MirrorKey& key, std::set<ObjectId> listed) {
  if (!listed_.contains(key.text()) && listed_.size() >= kMaxMirroredPlaces) listed_.clear();
  auto& known = listed_[key.text()];
  if (base::SteadyClock::now() > known.until || known.ids.size() + listed.size() > kMaxMirrorRefs) known.ids.clear();
  known.ids.merge(listed);
  known.until = base::deadline_in(kMirrorAuthorisedFor);
}

bool Mirrors::may_serve(const MirrorKey& key, const std::vector<ObjectId>& wants) const {
  const auto found = listed_.find(key.text());
  if (found == listed_.end() || base::SteadyClock::now() > found->second.until) return false;
  return std::all_of(wants.begin(), wants.end(), [&](const ObjectId& id) { return found->second.ids.contains(id); });
}

Awaitable<Result<bool>> Mirrors::serve(GitExchange& exchange, MirrorKey key, const std::string& body) {
  if (serving_ >= kMaxMirrorServes) co_return false;
  const auto open_store = store;
  std::function<Result<std::optional<MirrorUse>>()> open = [open_store, key] { return open_store->open(key); };
  auto opening = base::run_blocking(pool, std::move(open));
  auto use = co_await std::move(opening);
  if (!use || !*use) co_return false;
  const bool is_v2 = exchange.http.request().field("git-protocol") == std::string_view("version=2");
  ++serving_;
  const base::Defer done([this] { --serving_; });
  auto answer = answer_from_mirror(exchange, (*use)->repository(), body, is_v2);
  auto outcome = co_await std::move(answer);
  if (!outcome) co_return base::fail(std::move(outcome).error());
  if (*outcome == MirrorAnswer::broken || *outcome == MirrorAnswer::broken_off) open_store->suspect(key);
  if (*outcome == MirrorAnswer::broken_off)
    co_return base::fail(base::Code::unavailable, "internal_error", "the mirror is damaged, and will be made anew");
  co_return *outcome == MirrorAnswer::served;
}

namespace {

void record_refresh(const MirrorFill& fill, const Result<std::optional<std::string>>& outcome) {
  egress::AuditEvent event{.event = "mirror",
                           .action = outcome ? "allow" : "deny",
                           .connection = fill.connection,
                           .host = fill.place.origin.host.text(),
                           .port = fill.place.origin.port};
  event.reason = model::to_string(model::Reason::allowed);
  if (!outcome)
    event.reason =
        model::to_string(model::parse_reason(outcome.error().reason).value_or(model::Reason::internal_error));
  event.detail = outcome ? **outcome : outcome.error().describe();
  event.service = "git";
  event.path = fill.place.target;
  event.bytes_down = fill.bytes;
  fill.state->parts.audit.write(event);
}

}  // namespace

void Mirrors::refresh(GitExchange& exchange, const asio::any_io_executor& executor, const MirrorKey& key,
                      std::vector<ObjectId> wants) {
  if (refreshes_.size() >= kMaxMirroredPlaces) return;
  auto& slot = refreshes_[key.text()];
  if (!slot) slot = std::make_shared<Refresh>();
  if (slot->running || slot->failed) return;
  const auto place = place_of(exchange);
  MirrorFill fill{.state = exchange.tunnel.state,
                  .store = store,
                  .key = key,
                  .place = place,
                  .request = {.host = place.origin.host,
                              .port = place.origin.port,
                              .path = repository_at(place),
                              .method = credentials::Method::git_read},
                  .wants = std::move(wants),
                  .connection = exchange.http.connection_id()};
  auto run = [](MirrorFill work, std::shared_ptr<Refresh> refresh) -> Awaitable<void> {
    auto outcome = co_await fill_mirror(work);
    refresh->running = false;
    refresh->failed = !outcome;
    if (work.state->closed || (outcome && !*outcome)) co_return;
    record_refresh(work, outcome);
  };
  slot->running = true;
  // What cancellation throws ends here, with the coroutine.
  const auto ended = [](const std::exception_ptr&) {};
  asio::co_spawn(executor, run(std::move(fill), slot), asio::bind_cancellation_slot(slot->cancel.slot(), ended));
}

}  // namespace cleanroom::git_gateway
