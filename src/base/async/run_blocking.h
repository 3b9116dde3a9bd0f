#pragma once
// run_blocking: runs a blocking call (getaddrinfo, libarchive, ext2fs, libgit2) on a small pool and resumes the
// coroutine on its own executor. The pool is owned by the composition root and joined when it goes.
#include "src/base/async/asio.h"

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

// `work` must own all it touches: it runs to its end even if the waiting coroutine is gone.
template <class T>
Awaitable<Result<T>> run_blocking(BlockingPool& pool, std::function<Result<T>()> work) {
  auto executor = co_await asio::this_coro::executor;
  auto outcome = std::make_shared<std::optional<Result<T>>>();
  co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(
      [&pool, executor, outcome, work = std::move(work)](auto handler) mutable {
        // The handler runs on the coroutine's executor; work_guard keeps that executor's context alive meanwhile.
        auto guard = asio::make_work_guard(executor);
        asio::post(pool.pool(), [outcome, work = std::move(work), handler = std::move(handler), executor,
                                 guard = std::move(guard)]() mutable {
          outcome->emplace(work());
          asio::post(executor, std::move(handler));
        });
      },
      asio::use_awaitable);
  co_return std::move(**outcome);
}

}  // namespace cleanroom::base
