#include "bench/driver/driver.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/egress/egress_server.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include <cstdio>

namespace cleanroom::bench {

using base::Awaitable;
using base::kTuple;
namespace asio = base::asio;
using asio::ip::tcp;

namespace {

Awaitable<void> answer(tcp::socket socket, std::shared_ptr<const std::vector<char>> block) {
  char command = 0;
  auto [ec, n] = co_await socket.async_read_some(asio::buffer(&command, 1), kTuple);
  if (ec || n == 0) co_return;
  if (command != kStream) {
    co_await asio::async_write(socket, asio::buffer(block->data(), 1), kTuple);
    co_return;
  }
  while (!ec) {
    auto [failed, written] = co_await asio::async_write(socket, asio::buffer(*block), kTuple);
    ec = failed;
  }
}

Awaitable<void> accept_all(tcp::acceptor& acceptor) {
  const auto block = std::make_shared<const std::vector<char>>(256 * 1024, 'x');
  for (;;) {
    auto [ec, socket] = co_await acceptor.async_accept(kTuple);
    if (ec) continue;
    asio::co_spawn(acceptor.get_executor(), answer(std::move(socket), block), asio::detached);
  }
}

Awaitable<void> serve_all(asio::local::stream_protocol::acceptor& acceptor, egress::EgressServer& server) {
  for (;;) {
    auto [ec, socket] = co_await acceptor.async_accept(kTuple);
    if (ec) continue;
    asio::co_spawn(acceptor.get_executor(), server.serve(std::move(socket)), asio::detached);
  }
}

int failed(const base::Error& error) {
  std::fprintf(stderr, "bench_egress: error: %s\n", error.message.c_str());
  return 1;
}

}  // namespace

int run_upstream() {
  asio::io_context context(1);
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  acceptor.listen(4096);
  std::printf("ready %u\n", static_cast<unsigned>(acceptor.local_endpoint().port()));
  std::fflush(stdout);
  asio::co_spawn(context, accept_all(acceptor), asio::detached);
  context.run();
  return 0;
}

int run_proxy(const std::string& path, std::uint16_t port) {
  asio::io_context context(1);
  auto rules = policy::NetworkRules::build({{.host = "127.0.0.1", .ports = {port}, .key_path = "bench"}}, {});
  if (!rules) return 1;
  auto directory = base::TempDir::create("/tmp", "bench-egress-");
  if (!directory) return failed(directory.error());
  auto audit = egress::AuditLog::open(directory->path() / "audit.jsonl", "bench");
  if (!audit) return failed(audit.error());
  egress::SystemResolver resolver;
  egress::SystemDialer dialer;
  // The pace for one sandbox is policy, not cost: it is lifted. So is the rule about the host's own addresses.
  egress::EgressOptions options{.max_connections = 512,
                                .new_connections_per_second = 1e9,
                                .new_connections_burst = 1e9,
                                .requests_per_second = 1e9,
                                .requests_burst = 1e9};
  options.own_addresses = [] { return std::vector<model::IpAddress>(); };
  egress::EgressServer server(*rules, resolver, dialer, **audit, {}, options);
  asio::local::stream_protocol::acceptor acceptor(context, {path});
  std::puts("ready");
  std::fflush(stdout);
  asio::co_spawn(context, serve_all(acceptor, server), asio::detached);
  context.run();
  return 0;
}

}  // namespace cleanroom::bench
