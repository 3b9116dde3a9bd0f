// The client of bench/egress: the same loop over a plain TCP connection, one through an HTTP/1.1 CONNECT proxy, or a
// CONNECT stream of one HTTP/2 connection, as the agent in a guest opens them.
#include "bench/driver/driver.h"
#include "src/base/os/io.h"
#include "src/channel/h2_connection.h"
#include "src/egress/limits.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace cleanroom::bench {

using base::Awaitable;
using base::kTuple;
namespace asio = base::asio;
using asio::ip::tcp;

namespace {

class Leg {
 public:
  virtual ~Leg() = default;
  virtual Awaitable<bool> write(std::span<const char> bytes) = 0;
  // 0 at the end and on an error.
  virtual Awaitable<std::size_t> read(std::span<std::byte> into) = 0;
  // After the end of what the peer sends.
  virtual Awaitable<void> close() { co_return; }
};
using LegPtr = std::unique_ptr<Leg>;

class TcpLeg : public Leg {
 public:
  explicit TcpLeg(tcp::socket socket) : socket_(std::move(socket)) {}
  Awaitable<bool> write(std::span<const char> bytes) override {
    auto [ec, n] = co_await asio::async_write(socket_, asio::buffer(bytes.data(), bytes.size()), kTuple);
    co_return !ec && n == bytes.size();
  }
  Awaitable<std::size_t> read(std::span<std::byte> into) override {
    auto [ec, n] = co_await socket_.async_read_some(asio::buffer(into.data(), into.size()), kTuple);
    co_return ec ? 0 : n;
  }

 private:
  tcp::socket socket_;
};

class H2Leg : public Leg {
 public:
  explicit H2Leg(channel::H2Stream stream) : stream_(std::move(stream)) {}
  Awaitable<bool> write(std::span<const char> bytes) override {
    auto written = co_await stream_.write_all(std::as_bytes(bytes));
    co_return written.has_value();
  }
  Awaitable<std::size_t> read(std::span<std::byte> into) override {
    auto n = co_await stream_.read(into);
    co_return n ? *n : 0;
  }
  // Ends in order: a stream that is dropped is reset, and libnghttp2 takes many resets for an attack.
  Awaitable<void> close() override {
    stream_.finish();
    co_await stream_.wait_closed();
  }

 private:
  channel::H2Stream stream_;
};

struct Bench {
  explicit Bench(const ClientOptions& o) : options(o) {}
  ClientOptions options;
  asio::io_context context{1};
  std::shared_ptr<channel::H2Connection> connection;  // of an h2 route
  std::uint64_t counted = 0;
  std::uint64_t failed = 0;

  std::string route_kind() const { return options.route.substr(0, options.route.find(':')); }
  std::string route_rest() const { return options.route.substr(options.route.find(':') + 1); }
  std::string authority() const { return "127.0.0.1:" + std::to_string(options.upstream_port); }
};

Awaitable<LegPtr> open_tcp(Bench& bench) {
  tcp::socket socket(bench.context);
  const auto port = static_cast<std::uint16_t>(std::strtoul(bench.route_rest().c_str(), nullptr, 10));
  const tcp::endpoint where(asio::ip::address_v4::loopback(), port);
  auto [ec] = co_await socket.async_connect(where, kTuple);
  if (ec) co_return nullptr;
  if (bench.route_kind() == "http") {
    const std::string head = "CONNECT " + bench.authority() + " HTTP/1.1\r\nHost: " + bench.authority() + "\r\n\r\n";
    auto [failed, sent] = co_await asio::async_write(socket, asio::buffer(head), kTuple);
    if (failed || sent != head.size()) co_return nullptr;
    // The upstream says nothing before it is asked, so nothing of the tunnel can come along with the answer.
    std::string answer;
    auto [ended, got] = co_await asio::async_read_until(socket, asio::dynamic_buffer(answer, 4096), "\r\n\r\n", kTuple);
    if (ended || got != answer.size() || answer.find(" 200 ") == std::string::npos) co_return nullptr;
  }
  co_return std::make_unique<TcpLeg>(std::move(socket));
}

Awaitable<LegPtr> open_h2(Bench& bench) {
  const channel::Headers headers{{":method", "CONNECT"}, {":authority", bench.authority()}};
  auto stream = bench.connection->request(headers, channel::EndStream::no);
  if (!stream) co_return nullptr;
  auto answered = co_await stream->response();
  if (!answered) co_return nullptr;
  const auto* status = channel::find_header(stream->headers(), ":status");
  if (status == nullptr || *status != "200") co_return nullptr;
  co_return std::make_unique<H2Leg>(std::move(*stream));
}

Awaitable<void> work(Bench& bench) {
  std::vector<std::byte> buffer(64 * 1024);
  const bool counts_connections = bench.options.new_connections;
  const char command = counts_connections ? kOnce : kStream;
  for (;;) {
    LegPtr leg;
    if (bench.connection)
      leg = co_await open_h2(bench);
    else
      leg = co_await open_tcp(bench);
    bool ok = leg != nullptr;
    if (ok) ok = co_await leg->write(std::span(&command, 1));
    std::size_t total = 0;
    while (ok) {
      const std::size_t n = co_await leg->read(buffer);
      if (n == 0) break;
      total += n;
      if (!counts_connections) bench.counted += n;
    }
    if (total > 0) co_await leg->close();
    if (total == 0) ++bench.failed;
    if (total > 0 && counts_connections) ++bench.counted;
    if (bench.failed > 1000) co_return;
  }
}

}  // namespace

int run_client(const ClientOptions& options) {
  Bench bench(options);
  if (bench.route_kind() == "h2") {
    channel::StreamSocket socket(bench.context);
    base::ErrorCode ec;
    socket.connect({bench.route_rest()}, ec);
    if (ec) return 1;
    bench.connection =
        channel::H2Connection::create(std::move(socket), channel::Role::client, egress::kNetworkStreamLimits);
    asio::co_spawn(bench.context, bench.connection->run(), asio::detached);
  }
  for (std::size_t i = 0; i < options.connections; ++i)
    asio::co_spawn(bench.context, work(bench), asio::detached);
  bench.context.run_for(std::chrono::milliseconds(500));
  bench.counted = 0;
  const auto begun = base::SteadyClock::now();
  bench.context.run_for(options.duration);
  const std::chrono::duration<double> took = base::SteadyClock::now() - begun;
  std::printf("%.0f %llu\n", static_cast<double>(bench.counted) / took.count(),
              static_cast<unsigned long long>(bench.failed));
  std::fflush(stdout);
  std::_Exit(0);  // with connections half-way: there is nothing to end in order
}

}  // namespace cleanroom::bench
