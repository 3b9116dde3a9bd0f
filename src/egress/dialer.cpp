#include "src/egress/dialer.h"

#include "src/base/async/event.h"
#include "src/base/os/defer.h"
#include "src/egress/limits.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

namespace cleanroom::egress {

using base::Awaitable;
using base::Code;
using base::kTuple;
using base::Result;
namespace asio = base::asio;
using asio::ip::tcp;

namespace {

tcp::endpoint to_endpoint(const model::IpAddress& address, std::uint16_t port) {
  const auto bytes = address.bytes();
  if (address.is_v4()) {
    asio::ip::address_v4::bytes_type v4{};
    std::copy(bytes.begin(), bytes.end(), v4.begin());
    return {asio::ip::address_v4(v4), port};
  }
  asio::ip::address_v6::bytes_type v6{};
  std::copy(bytes.begin(), bytes.end(), v6.begin());
  return {asio::ip::address_v6(v6), port};
}

// The attempts of one dial_first() and what has come of them.
struct Race {
  explicit Race(const asio::any_io_executor& executor) : changed(executor) {}
  std::vector<std::unique_ptr<asio::cancellation_signal>> attempts;
  std::size_t running = 0;
  bool over = false;
  std::optional<Dialed> winner;
  base::Error last_error;
  base::Event changed;
};

Awaitable<void> attempt(std::shared_ptr<Race> race, Dialer& dialer, model::IpAddress address, std::uint16_t port,
                        base::Deadline deadline) {
  auto socket = co_await dialer.connect(address, port, deadline);
  --race->running;
  if (!socket)
    race->last_error = std::move(socket).error();
  else if (!race->over && !race->winner)
    race->winner = Dialed{std::move(*socket), address};
  race->changed.notify_all();
}

}  // namespace

Awaitable<Result<TcpSocket>> SystemDialer::connect(model::IpAddress address, std::uint16_t port,
                                                   base::Deadline deadline) {
  using namespace asio::experimental::awaitable_operators;
  const auto executor = co_await asio::this_coro::executor;
  const auto endpoint = to_endpoint(address, port);
  // Not Asio's open(): it makes sockets that children would inherit.
  const int raw = ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (raw < 0) co_return base::fail(base::errno_error("make a socket for", address.to_string()));
  TcpSocket socket(executor, endpoint.protocol(), raw);
  asio::steady_timer limit(executor, deadline);
  const auto first = co_await (socket.async_connect(endpoint, kTuple) || limit.async_wait(kTuple));
  if (first.index() == 1)
    co_return base::fail(Code::timeout, "connect_failed",
                         fmt::format("cannot connect to '{}': no answer within the time limit", address.to_string()));
  if (const auto ec = std::get<0>(std::get<0>(first)))
    co_return base::fail(base::asio_error("connect to", address.to_string(), ec));
  base::ErrorCode ec;
  if (socket.remote_endpoint(ec) != endpoint || ec)
    co_return base::fail(Code::internal, "connect_failed", "cannot connect: the peer is not the address dialled");
  socket.set_option(tcp::no_delay(true), ec);
  socket.set_option(asio::socket_base::keep_alive(true), ec);
  co_return std::move(socket);
}

std::vector<model::IpAddress> alternate_families(const std::vector<model::IpAddress>& addresses) {
  std::vector<model::IpAddress> rest(addresses);
  std::vector<model::IpAddress> order;
  while (!rest.empty()) {
    const bool want_v4 = order.empty() ? rest.front().is_v4() : !order.back().is_v4();
    auto next = std::find_if(rest.begin(), rest.end(), [&](const auto& address) { return address.is_v4() == want_v4; });
    if (next == rest.end()) next = rest.begin();
    order.push_back(*next);
    rest.erase(next);
  }
  return order;
}

Awaitable<Result<Dialed>> dial_first(Dialer& dialer, std::vector<model::IpAddress> addresses, std::uint16_t port,
                                     base::Deadline deadline) {
  const auto executor = co_await asio::this_coro::executor;
  const auto race = std::make_shared<Race>(executor);
  const base::Defer stop_others([race] {
    race->over = true;
    for (const auto& signal : race->attempts)
      signal->emit(asio::cancellation_type::terminal);
  });
  const auto order = alternate_families(addresses);
  std::size_t next = 0;
  base::Deadline next_start = base::SteadyClock::now();
  while (!race->winner && (next < order.size() || race->running > 0)) {
    const auto now = base::SteadyClock::now();
    if (now >= deadline) break;
    if (next < order.size() && (now >= next_start || race->running == 0)) {
      race->attempts.push_back(std::make_unique<asio::cancellation_signal>());
      ++race->running;
      next_start = now + kConnectStagger;
      asio::co_spawn(executor, attempt(race, dialer, order[next++], port, deadline),
                     asio::bind_cancellation_slot(race->attempts.back()->slot(), [race](const std::exception_ptr&) {
                       // Holding `race`: the signal must outlive the spawned coroutine, which ends a turn after
                       // attempt() does.
                     }));
      continue;
    }
    co_await race->changed.wait_until(next < order.size() ? std::min(next_start, deadline) : deadline);
  }
  if (race->winner) co_return std::move(*race->winner);
  auto error = std::move(race->last_error);
  if (error.message.empty()) error = base::Error(Code::timeout, "cannot connect: no answer within the time limit");
  error.reason = "connect_failed";
  co_return base::fail(std::move(error));
}

}  // namespace cleanroom::egress
