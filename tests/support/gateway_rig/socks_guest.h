#pragma once
// SocksGuest: in the place of the guest's agent, a SOCKS5 listener on loopback (RFC 1928, CONNECT, no authentication).
// Each connection becomes a CONNECT tunnel on the network stream; a refusal is the SOCKS reply "not allowed".
#include "src/channel/h2_connection.h"
#include "src/egress/limits.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include <array>
#include <memory>
#include <optional>
#include <string>

namespace cleanroom::testing {

class SocksGuest {
 public:
  SocksGuest(base::asio::io_context& context, channel::StreamSocket network)
      : acceptor_(context, {base::asio::ip::address_v4::loopback(), 0}),
        connection_(
            channel::H2Connection::create(std::move(network), channel::Role::client, egress::kNetworkStreamLimits)) {
    base::asio::co_spawn(context, connection_->run(), base::asio::detached);
    base::asio::co_spawn(context, accept(), base::asio::detached);
  }
  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

 private:
  using Socket = base::asio::ip::tcp::socket;
  struct Joined {
    Socket socket;
    channel::H2Stream stream;
  };

  base::Awaitable<void> accept() {
    for (;;) {
      auto [ec, socket] = co_await acceptor_.async_accept(base::kTuple);
      if (ec) co_return;
      base::ErrorCode ignored;
      socket.set_option(base::asio::ip::tcp::no_delay(true), ignored);
      base::asio::co_spawn(acceptor_.get_executor(), serve(std::move(socket)), base::asio::detached);
    }
  }

  static base::Awaitable<bool> read(Socket& socket, std::span<unsigned char> into) {
    auto [ec, n] = co_await base::asio::async_read(socket, base::asio::buffer(into.data(), into.size()), base::kTuple);
    co_return !ec;
  }
  static base::Awaitable<bool> write(Socket& socket, std::span<const std::byte> bytes) {
    auto [ec, n] =
        co_await base::asio::async_write(socket, base::asio::buffer(bytes.data(), bytes.size()), base::kTuple);
    co_return !ec;
  }

  // The authority asked for: "name:port".
  static base::Awaitable<std::optional<std::string>> negotiate(Socket& socket) {
    std::array<unsigned char, 2> hello{};
    std::vector<unsigned char> methods;
    std::array<unsigned char, 5> head{};  // version, command, reserved, type, first byte of the address
    constexpr std::array kNoAuthentication{std::byte{5}, std::byte{0}};
    if (!co_await read(socket, hello) || hello[0] != 5) co_return std::nullopt;
    methods.resize(hello[1]);
    if (!co_await read(socket, methods) || !co_await write(socket, kNoAuthentication)) co_return std::nullopt;
    if (!co_await read(socket, head) || head[1] != 1) co_return std::nullopt;
    std::vector<unsigned char> rest((head[3] == 3 ? head[4] : 3U) + 2U);
    if ((head[3] != 3 && head[3] != 1) || !co_await read(socket, rest)) co_return std::nullopt;
    const unsigned port = rest[rest.size() - 2] * 256U + rest[rest.size() - 1];
    if (head[3] == 3) co_return fmt::format("{}:{}", std::string(rest.begin(), rest.end() - 2), port);
    co_return fmt::format("{}.{}.{}.{}:{}", head[4], rest[0], rest[1], rest[2], port);
  }

  base::Awaitable<void> serve(Socket socket) {
    const auto authority = co_await negotiate(socket);
    if (!authority) co_return;
    const channel::Headers headers{{":method", "CONNECT"}, {":authority", *authority}};
    auto stream = connection_->request(headers, channel::EndStream::no);
    const auto answered = stream ? co_await stream->response() : base::fail(base::Code::unavailable, "gone");
    const auto* status = answered ? channel::find_header(stream->headers(), ":status") : nullptr;
    const bool open = status != nullptr && *status == "200";
    std::array<std::byte, 10> reply{std::byte{5}, open ? std::byte{0} : std::byte{2}, std::byte{0}, std::byte{1}};
    if (!co_await write(socket, reply) || !open) co_return;
    auto joined = std::make_shared<Joined>(Joined{std::move(socket), std::move(*stream)});
    base::asio::co_spawn(acceptor_.get_executor(), up(joined), base::asio::detached);
    co_await down(joined);
  }

  static base::Awaitable<void> up(std::shared_ptr<Joined> joined) {
    std::vector<std::byte> buffer(egress::kRelayBuffer);
    for (;;) {
      auto [ec, n] = co_await joined->socket.async_read_some(base::asio::buffer(buffer), base::kTuple);
      if (ec && ec != base::asio::error::eof) {
        joined->stream.reset(channel::kCancel);  // as the agent tells of a reset
        co_return;
      }
      if (ec || !co_await joined->stream.write_all(std::span<const std::byte>(buffer).first(n))) break;
    }
    joined->stream.finish();
  }
  static base::Awaitable<void> down(std::shared_ptr<Joined> joined) {
    std::vector<std::byte> buffer(egress::kRelayBuffer);
    base::ErrorCode ignored;
    for (;;) {
      const auto n = co_await joined->stream.read(buffer);
      if (!n) {
        // As a reset does in a guest: an end that nobody takes for an orderly one.
        joined->socket.set_option(base::asio::socket_base::linger(true, 0), ignored);
        break;
      }
      if (*n == 0) break;
      if (!co_await write(joined->socket, std::span<const std::byte>(buffer).first(*n))) break;
    }
    joined->socket.close(ignored);
  }

  base::asio::ip::tcp::acceptor acceptor_;
  std::shared_ptr<channel::H2Connection> connection_;
};

}  // namespace cleanroom::testing
