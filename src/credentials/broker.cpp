#include "src/credentials/broker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace cleanroom::credentials {

using base::Awaitable;
using base::Result;
namespace asio = base::asio;

// One binding's: a header or a failure until `until`, or a fetch under way, or nothing.
struct Held {
  base::Secret header;
  std::optional<base::Error> failure;
  base::SteadyClock::time_point until;
  bool fetching = false;
  bool renewing = false;  // the next fetch follows a forget()
  bool renewed = false;   // `header` comes from such a fetch
  std::unique_ptr<base::Event> changed;
  std::unique_ptr<asio::steady_timer> expiry;

  void drop() {
    header = {};
    failure.reset();
    if (expiry) expiry->cancel();
  }
};

struct Broker::State {
  State(Bindings b, JobIdentity j, base::BlockingPool& p, Options o)
      : bindings(std::move(b)),
        job(std::move(j)),
        pool(&p),
        options(std::move(o)),
        sources(std::make_shared<const Sources>(
            bindings, options.host ? std::move(*options.host) : HostEnvironment::from_process(),
            options.source_time_limit)),
        held(bindings.entries.size()) {
    options.host.reset();
  }

  std::chrono::seconds hold_of(const Binding& binding, std::optional<std::chrono::seconds> valid) const {
    auto hold = std::min(options.hold, valid.value_or(options.hold));
    for (const auto& secret : options.secrets) {
      if (secret.target != "git" || secret.id != binding.id) continue;
      hold = std::min(hold, std::chrono::seconds(secret.ttl_seconds));
    }
    return std::max(hold, std::chrono::seconds(1));
  }

  Bindings bindings;
  JobIdentity job;
  base::BlockingPool* pool;
  Options options;
  std::shared_ptr<const Sources> sources;
  std::vector<Held> held;  // as bindings.entries; never resized: coroutines refer to elements
};

Broker::Broker(Bindings bindings, JobIdentity job, base::BlockingPool& pool, Options options)
    : state_(std::make_shared<State>(std::move(bindings), std::move(job), pool, std::move(options))) {}
Broker::Broker(Broker&&) noexcept = default;
Broker& Broker::operator=(Broker&&) noexcept = default;
Broker::~Broker() = default;

Awaitable<Result<Lookup>> Broker::find(Request request, base::Deadline deadline) {
  return find_in(state_, std::move(request), deadline);
}

Awaitable<Result<Lookup>> Broker::find_in(std::shared_ptr<State> state, Request request, base::Deadline deadline) {
  const auto choice = choose_binding(request, state->job, state->bindings, state->options.secrets);
  if (choice.kind != Choice::Kind::grant) co_return Lookup{choice.kind, choice.why, std::nullopt};
  const Binding& binding = state->bindings.entries[choice.index];
  Held& held = state->held[choice.index];
  const auto executor = co_await asio::this_coro::executor;
  if (!held.changed) held.changed = std::make_unique<base::Event>(executor);
  for (;;) {
    const bool current = !held.fetching && state->options.clock() < held.until;
    if (current && held.failure) co_return base::fail(*held.failure);
    if (current && !held.header.empty()) {
      Grant grant{binding.id, binding.source.kind, binding.header_name, held.header.clone()};
      co_return Lookup{choice.kind, choice.why, std::move(grant)};
    }
    if (!held.fetching) {
      held.fetching = true;
      asio::co_spawn(executor, fetch(state, choice.index), asio::detached);
    }
    const bool in_time = co_await held.changed->wait_until(deadline);
    if (!in_time && held.fetching) {
      co_return base::fail(base::Code::timeout, "credential_unavailable",
                           fmt::format("cannot use credential '{}' ({}): its source gave nothing within the time limit",
                                       binding.id, to_string(binding.source.kind)));
    }
  }
}

// Not part of any find(): the one that began it may be cancelled while others wait.
Awaitable<void> Broker::fetch(std::weak_ptr<State> weak, std::size_t index) {
  const auto executor = co_await asio::this_coro::executor;
  auto state = weak.lock();
  if (!state) co_return;
  std::function<Result<FetchedHeader>()> work = [sources = state->sources, binding = state->bindings.entries[index]] {
    return sources->fetch(binding);
  };
  auto* pool = state->pool;
  state.reset();  // a Broker that goes meanwhile wipes what it holds at once
  auto fetched = co_await base::run_blocking<FetchedHeader>(*pool, std::move(work));
  state = weak.lock();
  if (!state) co_return;

  Held& held = state->held[index];
  held.drop();
  held.fetching = false;
  held.renewed = std::exchange(held.renewing, false);
  std::chrono::seconds hold = state->options.hold_failure;
  if (fetched) {
    hold = state->hold_of(state->bindings.entries[index], fetched->valid);
    held.header = std::move(fetched->value);
  } else {
    held.failure = std::move(fetched).error();
  }
  held.until = state->options.clock() + hold;
  // Wiped when its time is over, asked for or not. The handler of a timer that is replaced or destroyed gets an error.
  held.expiry = std::make_unique<asio::steady_timer>(executor, hold);
  held.expiry->async_wait([weak, index](const base::ErrorCode& ec) {
    const auto owner = ec ? nullptr : weak.lock();
    if (owner && !owner->held[index].fetching) owner->held[index].drop();
  });
  held.changed->notify_all();
}

bool Broker::forget(std::string_view binding_id) {
  const auto& entries = state_->bindings.entries;
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const Binding& binding) { return binding.id == binding_id; });
  if (found == entries.end()) return false;
  Held& held = state_->held[static_cast<std::size_t>(found - entries.begin())];
  if (held.fetching || held.header.empty()) return true;
  if (held.renewed) return false;
  held.drop();
  held.renewing = true;
  return true;
}

}  // namespace cleanroom::credentials
