#pragma once
// Broker: the credentials of one job. Decides whether a request may have one, fetches it, holds it for a while, and
// wipes it. On one thread, that of the io_context; what blocks runs on the pool.
#include "src/base/async/run_blocking.h"
#include "src/credentials/scope.h"
#include "src/credentials/sources.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::credentials {

struct Grant {
  std::string binding_id;
  SourceKind source = SourceKind::env;
  std::string header_name;  // "Authorization", or the binding's own
  base::Secret header_value;
};

struct Lookup {
  Choice::Kind kind = Choice::Kind::none;
  std::string why;             // see Choice::why
  std::optional<Grant> grant;  // there for Kind::grant only
};

class Broker {
 public:
  struct Options {
    // The repository's `secrets`: they narrow which bindings count (scope.h), and ttl_seconds how long one is held.
    std::vector<policy::SecretRequest> secrets;
    std::optional<HostEnvironment> host;  // nullopt: this process's, read now
    std::chrono::milliseconds source_time_limit = kSourceTimeLimit;
    std::chrono::seconds hold = std::chrono::minutes(5);           // at most; a policy or a source may say less, to 1 s
    std::chrono::seconds hold_failure = std::chrono::seconds(10);  // how long a source that failed is not asked again
    std::function<base::SteadyClock::time_point()> clock = base::SteadyClock::now;
  };
  // `pool` must outlive the Broker.
  Broker(Bindings bindings, JobIdentity job, base::BlockingPool& pool, Options options);
  Broker(Broker&&) noexcept;
  Broker& operator=(Broker&&) noexcept;
  ~Broker();  // wipes what is held

  // A binding's source is asked once for all who wait for it. Fails with credential_unavailable when it has nothing, or
  // not by the deadline (code timeout); the text names the binding, never the value. Never anonymous by accident:
  // whoever gets out_of_scope or a failure has to decide what that means.
  base::Awaitable<base::Result<Lookup>> find(Request request, base::Deadline deadline);

  // Upstream refused what this binding gave. True: it is dropped, and the next find() asks its source. False: it is
  // fresh from such a second try, or there is no such binding; a further one would give the same.
  bool forget(std::string_view binding_id);

 private:
  struct State;
  static base::Awaitable<base::Result<Lookup>> find_in(std::shared_ptr<State> state, Request request,
                                                       base::Deadline deadline);
  static base::Awaitable<void> fetch(std::weak_ptr<State> weak, std::size_t index);
  std::shared_ptr<State> state_;
};

}  // namespace cleanroom::credentials
