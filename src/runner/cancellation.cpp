#include "src/runner/cancellation.h"

#include <signal.h>

namespace cleanroom::runner {

using base::Awaitable;
using base::kTuple;

Cancellation::Cancellation(const base::asio::any_io_executor& executor, CancelDeadlines deadlines)
    : signals_(executor, SIGTERM, SIGINT, SIGHUP), deadlines_(std::move(deadlines)), changed_(executor) {
  signals_.add(SIGQUIT);
  ::signal(SIGPIPE, SIG_IGN);
}

Awaitable<void> Cancellation::watch() {
  for (;;) {
    auto [ec, number] = co_await signals_.async_wait(kTuple);
    if (ec) co_return;
    if (signal_ == 0) {
      signal_ = number;
      hard_stop_ = base::deadline_in(deadlines_.hard_stop);
      exit_by_ = base::deadline_in(deadlines_.exit_by);
    } else {
      hard_stop_ = base::SteadyClock::now();
    }
    changed_.notify_all();
  }
}

Awaitable<void> Cancellation::wait_requested() {
  while (!requested())
    co_await changed_.wait();
}

Awaitable<void> Cancellation::wait_hard_stop() {
  while (base::SteadyClock::now() < hard_stop_)
    co_await changed_.wait_until(hard_stop_);
}

}  // namespace cleanroom::runner
