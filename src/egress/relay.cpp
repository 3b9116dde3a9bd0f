#include "src/egress/relay.h"

#include "src/base/async/event.h"
#include "src/base/os/io.h"
#include "src/egress/limits.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <memory>

namespace cleanroom::egress {

using base::Awaitable;
using base::kTuple;
namespace asio = base::asio;

namespace {

constexpr std::string_view kSwitching = "HTTP/1.1 101";
constexpr std::string_view kBadRequest =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 42\r\nConnection: close\r\n\r\n"
    "refused by the network policy (cleanroom)\n";

// Shared by the coroutines of one relay; it lives until the last of them is done.
struct Tunnel {
  Tunnel(channel::H2Stream s, TcpSocket t)
      : stream(std::move(s)), socket(std::move(t)), changed(socket.get_executor()) {}
  channel::H2Stream stream;
  TcpSocket socket;
  HttpRequestGuard* guard = nullptr;
  std::function<void()> on_refused;
  std::string first_down;  // the start of the server's first answer, as long as an upgrade may depend on it
  bool up_done = false;    // the guest's bytes are all with upstream, or upstream takes no more
  bool down_done = false;  // upstream's bytes are all in the stream
  bool aborted = false;
  bool guest_gone = false;
  int coroutines = 0;
  base::Deadline last_activity = base::SteadyClock::now();
  RelayOutcome outcome;
  base::Event changed;

  void touch() { last_activity = base::SteadyClock::now(); }
  void abort(std::string_view why) {
    if (aborted) return;
    aborted = true;
    if (outcome.end.empty()) outcome.end = why;
    base::ErrorCode ignored;
    // An end that upstream must not take for an orderly one.
    socket.set_option(asio::socket_base::linger(true, 0), ignored);
    socket.close(ignored);
    stream.reset(channel::kCancel);
    changed.notify_all();
  }
};
using TunnelPtr = std::shared_ptr<Tunnel>;

// False when upstream takes no more.
Awaitable<bool> write_up(TunnelPtr tunnel, std::span<const std::byte> bytes) {
  if (bytes.empty()) co_return true;
  auto [ec, n] = co_await asio::async_write(tunnel->socket, asio::buffer(bytes.data(), bytes.size()), kTuple);
  tunnel->outcome.bytes_up += n;
  tunnel->touch();
  co_return !ec;
}

// The guard said no. The guest hears why only where that cannot garble an answer that is under way.
Awaitable<void> refuse_request(TunnelPtr tunnel) {
  tunnel->outcome.end = "refused";
  if (tunnel->on_refused) tunnel->on_refused();
  if (tunnel->guard->requests() == 0 && tunnel->outcome.bytes_down == 0) {
    tunnel->down_done = true;
    base::ErrorCode ignored;
    tunnel->socket.close(ignored);
    (void)co_await tunnel->stream.write_all(base::as_bytes(kBadRequest));
    tunnel->stream.finish();
    co_return;
  }
  tunnel->abort("refused");
}

// Waits for the start of the server's answer when the guard needs it. False when there will be none.
Awaitable<bool> settle_upgrade(TunnelPtr tunnel, std::vector<std::byte>& forward) {
  while (tunnel->guard->state() == HttpRequestGuard::State::upgrade_asked) {
    if (tunnel->aborted || tunnel->down_done) co_return false;
    if (tunnel->first_down.size() < kSwitching.size()) {
      co_await tunnel->changed.wait();
      continue;
    }
    tunnel->guard->upgrade_answered(tunnel->first_down.starts_with(kSwitching), forward);
  }
  co_return true;
}

Awaitable<bool> pass_up(TunnelPtr tunnel, std::span<const std::byte> bytes) {
  if (tunnel->guard == nullptr) co_return co_await write_up(tunnel, bytes);
  std::vector<std::byte> forward;
  auto state = tunnel->guard->feed(bytes, forward);
  if (state == HttpRequestGuard::State::upgrade_asked) {
    if (!co_await write_up(tunnel, forward)) co_return false;
    forward.clear();
    if (!co_await settle_upgrade(tunnel, forward)) co_return false;
    state = tunnel->guard->state();
  }
  const bool sent = co_await write_up(tunnel, forward);
  if (state != HttpRequestGuard::State::refused) co_return sent;
  co_await refuse_request(tunnel);
  co_return false;
}

Awaitable<void> pump_up(TunnelPtr tunnel, std::vector<std::byte> first) {
  bool going = co_await write_up(tunnel, first);
  while (going && !tunnel->aborted) {
    // The window stays closed until upstream has the bytes: they are held once, here.
    const auto bytes = co_await tunnel->stream.take();
    if (!bytes) {
      tunnel->abort("reset");
      break;
    }
    tunnel->touch();
    if (bytes->empty()) {
      base::ErrorCode ignored;
      tunnel->socket.shutdown(asio::socket_base::shutdown_send, ignored);
      break;
    }
    going = co_await pass_up(tunnel, *bytes);
    tunnel->stream.give_back(bytes->size());
  }
  // Upstream that takes no more may still be sending its answer: the other direction decides about the end.
  tunnel->up_done = true;
  tunnel->touch();
}

// The bytes that upstream has, at most `room`, in a buffer that all tunnels share: it is good until the next
// suspension. Error: eof, would_block, or what recv(2) says.
std::span<const std::byte> read_down(Tunnel& tunnel, std::size_t room, base::ErrorCode& ec) {
  static thread_local std::array<std::byte, kRelayBuffer> buffer;
  const std::size_t n = tunnel.socket.read_some(asio::buffer(buffer.data(), std::min(room, buffer.size())), ec);
  return std::span<const std::byte>(buffer).first(n);
}

void pass_down(Tunnel& tunnel, std::span<const std::byte> bytes) {
  tunnel.touch();
  if (tunnel.guard != nullptr && tunnel.first_down.size() < kSwitching.size()) {
    tunnel.first_down.append(base::as_text(bytes).substr(0, kSwitching.size() - tunnel.first_down.size()));
    tunnel.changed.notify_all();
  }
  tunnel.outcome.bytes_down += tunnel.stream.write_some(bytes);
}

Awaitable<void> pump_down(TunnelPtr tunnel) {
  base::ErrorCode ec;
  tunnel->socket.non_blocking(true, ec);
  bool more = false;  // the last read took all it asked for
  while (!tunnel->aborted && !tunnel->down_done) {
    const auto room = co_await tunnel->stream.room();
    // Waiting lets the stream send what it has: a reset by upstream would overtake the 200 or the last bytes. An error
    // of the wait is met again by the read.
    if (room && !more) co_await tunnel->socket.async_wait(asio::socket_base::wait_read, kTuple);
    if (tunnel->aborted || tunnel->down_done) break;
    if (!room) {
      tunnel->abort("reset");
      break;
    }
    const auto bytes = read_down(*tunnel, *room, ec);
    more = !ec && bytes.size() == std::min(*room, kRelayBuffer);
    if (!ec) {
      pass_down(*tunnel, bytes);
    } else if (ec == asio::error::eof) {
      tunnel->stream.finish();
      break;
    } else if (ec != asio::error::would_block) {
      tunnel->abort("reset");
      break;
    }
  }
  tunnel->down_done = true;
  tunnel->touch();
}

// A guest that resets its stream ends the tunnel at once, also while a pump waits for upstream. After our side has
// ended, closed is the normal end, and bytes that the guest sent before may still be on their way up.
Awaitable<void> watch_guest(TunnelPtr tunnel) {
  co_await tunnel->stream.wait_closed();
  tunnel->guest_gone = true;
  if (!tunnel->down_done) tunnel->abort("reset");
}

void spawn(const TunnelPtr& tunnel, Awaitable<void> work) {
  ++tunnel->coroutines;
  asio::co_spawn(tunnel->socket.get_executor(), std::move(work), [tunnel](const std::exception_ptr&) {
    --tunnel->coroutines;
    tunnel->changed.notify_all();
  });
}

std::chrono::milliseconds limit_now(const Tunnel& tunnel, const RelayLimits& limits) {
  if (tunnel.up_done && tunnel.down_done) return limits.flush;
  return tunnel.up_done || tunnel.down_done ? limits.half_closed_idle : limits.idle;
}

}  // namespace

Awaitable<RelayOutcome> relay(channel::H2Stream stream, TcpSocket socket, RelayOptions options) {
  const auto tunnel = std::make_shared<Tunnel>(std::move(stream), std::move(socket));
  const auto limits = options.limits;
  tunnel->guard = options.guard;
  tunnel->on_refused = std::move(options.on_refused);
  spawn(tunnel, pump_up(tunnel, std::move(options.first_up)));
  spawn(tunnel, pump_down(tunnel));
  spawn(tunnel, watch_guest(tunnel));
  while (tunnel->coroutines > 0) {
    const bool finished = tunnel->up_done && tunnel->down_done;
    const auto deadline = tunnel->last_activity + limit_now(*tunnel, limits);
    if (tunnel->aborted) {
      co_await tunnel->changed.wait();
      continue;
    }
    if (co_await tunnel->changed.wait_until(deadline)) continue;
    if (base::SteadyClock::now() >= tunnel->last_activity + limit_now(*tunnel, limits))
      tunnel->abort(finished ? "closed" : "idle");
  }
  if (tunnel->outcome.end.empty()) tunnel->outcome.end = "closed";
  co_return tunnel->outcome;
}

}  // namespace cleanroom::egress
