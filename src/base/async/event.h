#pragma once
// Event wakes the coroutines that wait for it. A waiter looks at its condition again after every wake-up: notify says
// "something changed", not "it is true". One thread (that of the executor).
#include "src/base/async/asio.h"

#include <cstdint>

namespace cleanroom::base {

class Event {
 public:
  explicit Event(const asio::any_io_executor& executor) : timer_(executor, Deadline::max()) {}
  void notify_all() {
    ++notifications_;
    timer_.cancel();
  }
  Awaitable<void> wait() { co_await timer_.async_wait(kTuple); }
  // false: the deadline came first.
  Awaitable<bool> wait_until(Deadline deadline);

 private:
  Awaitable<void> wait_after(std::uint64_t notifications);
  asio::steady_timer timer_;
  std::uint64_t notifications_ = 0;
};

Awaitable<void> sleep_until(Deadline deadline);

// Runs `work`, and cancels it at the deadline: timeout, "cannot <attempt>: no result within its time limit".
template <class T>
Awaitable<Result<T>> with_deadline(Deadline deadline, std::string attempt, Awaitable<Result<T>> work);

}  // namespace cleanroom::base

#include "src/base/async/event_inline.h"
