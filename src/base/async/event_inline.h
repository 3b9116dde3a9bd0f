#pragma once
// Bodies of event.h that are templates or use Asio's operators.
#include "src/base/async/event.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace cleanroom::base {

// The two sides of || start as coroutines of their own, some turns after the caller has looked at its condition: a
// notification in between must not be lost.
inline Awaitable<void> Event::wait_after(std::uint64_t notifications) {
  if (notifications_ == notifications) co_await wait();
}

inline Awaitable<bool> Event::wait_until(Deadline deadline) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer limit(co_await asio::this_coro::executor, deadline);
  const auto first = co_await (wait_after(notifications_) || limit.async_wait(kTuple));
  co_return first.index() == 0;
}

inline Awaitable<void> sleep_until(Deadline deadline) {
  asio::steady_timer timer(co_await asio::this_coro::executor, deadline);
  co_await timer.async_wait(kTuple);
}

template <class T>
Awaitable<Result<T>> with_deadline(Deadline deadline, std::string attempt, Awaitable<Result<T>> work) {
  using namespace asio::experimental::awaitable_operators;
  asio::steady_timer limit(co_await asio::this_coro::executor, deadline);
  auto first = co_await (std::move(work) || limit.async_wait(kTuple));
  if (first.index() == 0) co_return std::move(std::get<0>(first));
  co_return fail(Code::timeout, fmt::format("cannot {}: no result within its time limit", attempt));
}

}  // namespace cleanroom::base
