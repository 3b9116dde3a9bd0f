#pragma once
// The one way into Boost.Asio: aliases, the completion tokens we use, and the rules.
//
// One io_context per process, run by one thread. Coroutines return Awaitable<Result<T>>; Asio calls use kTuple (no
// exceptions). Parameters of coroutines are taken by value; no lambda with default captures outlives its frame; every
// await has a deadline or an owner that closes what it waits on.
#include "src/base/os/clock.h"
#include "src/base/os/result.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace cleanroom::base {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;
template <class T>
using Awaitable = asio::awaitable<T>;

// `auto [ec, n] = co_await socket.async_read_some(buffer, kTuple);`
inline constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

inline Error asio_error(std::string_view attempt, std::string_view object, const ErrorCode& ec) {
  if (ec == asio::error::operation_aborted)
    return Error(Code::cancelled, fmt::format("cannot {} '{}': cancelled", attempt, object));
  return errno_error(attempt, object, ec.value());
}

}  // namespace cleanroom::base
