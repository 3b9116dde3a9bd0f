#pragma once
// run_blocking: runs a blocking call (getaddrinfo, libarchive, ext2fs) on a small pool and resumes the
// coroutine on its own executor. The pool is owned by the composition root and joined when it goes.
#include "src/base/async/asio.h"
#include "src/base/async/event.h"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <functional>
#include <memory>
#include <optional>

namespace cleanroom::base {

class BlockingPool {
 public:
  explicit BlockingPool(std::size_t threads);
  ~BlockingPool();  // waits for calls under way
  asio::thread_pool& pool() { return pool_; }

 private:
  asio::thread_pool pool_;
};

namespace detail {

template <class T>
struct BlockingCall {
  BlockingCall(const asio::any_io_executor& executor, std::function<Result<T>()> function)
      : work(std::move(function)), done(executor) {}
  std::function<Result<T>()> work;
  std::optional<Result<T>> outcome;  // set on the executor's thread
  Event done;
};

}  // namespace detail

// `work` must own all it touches: it runs to its end even if the waiting coroutine is cancelled.
template <class T>
Awaitable<Result<T>> run_blocking(BlockingPool& pool, std::function<Result<T>()> work) {
  const auto executor = co_await asio::this_coro::executor;
  const auto call = std::make_shared<detail::BlockingCall<T>>(executor, std::move(work));
  // The guard keeps the loop alive until the outcome is back; the last owner of `call` is on the loop's thread.
  auto run = [call, executor, guard = asio::make_work_guard(executor)]() mutable {
    auto outcome = call->work();
    asio::post(executor, [call = std::move(call), outcome = std::move(outcome)]() mutable {
      call->outcome.emplace(std::move(outcome));
      call->done.notify_all();
    });
  };
  asio::post(pool.pool(), std::move(run));
  while (!call->outcome)
    co_await call->done.wait();
  co_return std::move(*call->outcome);
}

}  // namespace cleanroom::base
