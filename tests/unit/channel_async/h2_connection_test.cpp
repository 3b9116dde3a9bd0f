#include "src/channel/h2_connection.h"

#include "src/base/os/io.h"

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/write.hpp>
#include <doctest/doctest.h>
#include <sys/socket.h>

using namespace cleanroom;
using namespace cleanroom::channel;
using namespace std::chrono_literals;
using base::Awaitable;
using base::Result;
namespace asio = base::asio;

namespace {

constexpr auto kTestLimit = 20s;

// A client and a server joined by a socket pair, both running.
struct Pair {
  asio::io_context context;
  std::shared_ptr<H2Connection> client;
  std::shared_ptr<H2Connection> server;
  int finished = 0;

  explicit Pair(const H2Limits& limits = {}) {
    StreamSocket a(context);
    StreamSocket b(context);
    asio::local::connect_pair(a, b);
    client = H2Connection::create(std::move(a), Role::client, limits);
    server = H2Connection::create(std::move(b), Role::server, limits);
    asio::co_spawn(context, client->run(), asio::detached);
    asio::co_spawn(context, server->run(), asio::detached);
  }
  void spawn(Awaitable<void> work) {
    asio::co_spawn(context, std::move(work), [this](std::exception_ptr error) {
      CHECK(error == nullptr);
      ++finished;
    });
  }
  void run() { context.run_for(kTestLimit); }
};

Headers connect_headers(std::string authority) {
  return {{":method", "CONNECT"}, {":authority", std::move(authority)}};
}

Awaitable<std::string> read_to_end(H2Stream& stream) {
  std::string text;
  std::array<std::byte, 5000> buffer;
  for (;;) {
    const auto n = co_await stream.read(buffer);
    if (!n || *n == 0) co_return text;
    text.append(base::as_text(std::span(buffer).first(*n)));
  }
}

}  // namespace

TEST_SUITE("channel/h2_connection") {
  TEST_CASE("a tunnel carries bytes both ways, more than any window, and keeps half-close") {
    Pair pair;
    const std::string big(3'000'000, 'x');
    std::string got_by_server;
    std::string got_by_client;
    std::string authority;
    pair.spawn([](Pair& p, const std::string& payload, std::string& got, std::string& name) -> Awaitable<void> {
      auto stream = co_await p.server->accept();
      REQUIRE(stream.has_value());
      name = *find_header(stream->headers(), ":authority");
      REQUIRE(stream->respond({{":status", "200"}}, EndStream::no).has_value());
      got = co_await read_to_end(*stream);
      // The client has ended its side; ours still works.
      REQUIRE((co_await stream->write_all(base::as_bytes(payload))).has_value());
      stream->finish();
      co_await stream->wait_closed();
    }(pair, big, got_by_server, authority));
    pair.spawn([](Pair& p, const std::string& payload, std::string& got) -> Awaitable<void> {
      auto stream = p.client->request(connect_headers("example.com:443"), EndStream::no);
      REQUIRE(stream.has_value());
      REQUIRE((co_await stream->response()).has_value());
      CHECK(*find_header(stream->headers(), ":status") == "200");
      REQUIRE((co_await stream->write_all(base::as_bytes(payload))).has_value());
      stream->finish();
      got = co_await read_to_end(*stream);
      p.client->close();
    }(pair, big, got_by_client));
    pair.run();
    CHECK(pair.finished == 2);
    CHECK(authority == "example.com:443");
    CHECK(got_by_server == big);
    CHECK(got_by_client == big);
  }

  TEST_CASE("RLY-06 a stream nobody reads stops at its window and does not stop the others") {
    Pair pair;
    std::size_t written_to_stalled = 0;
    std::string other;
    pair.spawn([](Pair& p, std::size_t& written) -> Awaitable<void> {
      auto stalled = p.client->request(connect_headers("stalled:1"), EndStream::no);
      REQUIRE(stalled.has_value());
      const std::vector<std::byte> block(16 * 1024);
      for (;;) {
        const auto result = co_await stalled->write_all(block);
        if (!result) co_return;
        written += block.size();
      }
    }(pair, written_to_stalled));
    pair.spawn([](Pair& p, std::string& got) -> Awaitable<void> {
      auto stalled = co_await p.server->accept();  // never read
      auto stream = co_await p.server->accept();
      REQUIRE(stream.has_value());
      got = co_await read_to_end(*stream);
      p.server->close();
    }(pair, other));
    pair.spawn([](Pair& p) -> Awaitable<void> {
      auto stream = p.client->request(connect_headers("other:1"), EndStream::no);
      REQUIRE(stream.has_value());
      const std::string payload(2'000'000, 'o');
      CHECK((co_await stream->write_all(base::as_bytes(payload))).has_value());
      stream->finish();
      co_await stream->wait_closed();
    }(pair));
    pair.run();
    CHECK(pair.finished == 3);
    CHECK(other.size() == 2'000'000);
    const H2Limits limits;
    CHECK(written_to_stalled <= limits.stream_window + limits.send_buffer);
  }

  TEST_CASE("RLY-05 requests that were reset before anybody took them are not kept") {
    Pair pair;
    pair.spawn([](Pair& p) -> Awaitable<void> {
      for (int i = 0; i < 500; ++i) {
        auto stream = p.client->request(connect_headers("gone.test:443"), EndStream::no);
        REQUIRE(stream);
        stream->reset(kCancel);
      }
      auto last = p.client->request(connect_headers("last.test:443"), EndStream::no);
      REQUIRE(last);
      // What the server has of the dead ones goes with their resets, which arrive before this.
      const Headers ok{{":status", "200"}};
      for (;;) {
        auto taken = co_await p.server->accept();
        REQUIRE(taken);
        if (*find_header(taken->headers(), ":authority") == "last.test:443") {
          CHECK(taken->respond(ok, EndStream::no));
          CHECK(co_await last->response());
          break;
        }
        ++p.finished;
      }
      CHECK(p.finished < 10);
      p.context.stop();
    }(pair));
    pair.run();
  }

  TEST_CASE("a program that aborts thousands of connections keeps its network") {
    Pair pair;
    pair.spawn([](Pair& p) -> Awaitable<void> {
      for (int i = 0; i < 4000; ++i) {
        auto stream = p.client->request(connect_headers("a.test:443"), EndStream::no);
        REQUIRE(stream);
        const auto taken = co_await p.server->accept();
        REQUIRE(taken);
        stream->reset(kCancel);
      }
      auto last = p.client->request(connect_headers("last.test:443"), EndStream::no);
      REQUIRE(last);
      auto taken = co_await p.server->accept();
      REQUIRE(taken);
      const Headers ok{{":status", "200"}};
      CHECK(taken->respond(ok, EndStream::no));
      CHECK(co_await last->response());
      p.context.stop();
    }(pair));
    pair.run();
    CHECK(pair.client->is_closed() == false);
  }

  TEST_CASE("the end of the connection wakes everybody with an error") {
    Pair pair;
    bool read_failed = false;
    bool accept_failed = false;
    pair.spawn([](Pair& p, bool& failed) -> Awaitable<void> {
      auto stream = p.client->request(connect_headers("a:1"), EndStream::no);
      failed = !(co_await stream->response()).has_value();
    }(pair, read_failed));
    pair.spawn([](Pair& p, bool& failed) -> Awaitable<void> {
      auto stream = co_await p.server->accept();
      p.server->close();
      failed = !(co_await p.server->accept()).has_value();
    }(pair, accept_failed));
    pair.run();
    CHECK(read_failed);
    CHECK(accept_failed);
  }

  TEST_CASE("RLY-01 garbage ends the connection as guest_failure and nothing else") {
    asio::io_context context;
    StreamSocket ours(context);
    StreamSocket peer(context);
    asio::local::connect_pair(ours, peer);
    auto server = H2Connection::create(std::move(ours), Role::server, {});
    std::optional<Result<void>> outcome;
    asio::co_spawn(context, server->run(),
                   [&outcome](std::exception_ptr, Result<void> result) { outcome = std::move(result); });
    const std::string garbage(5000, '\xff');
    asio::write(peer, asio::buffer(garbage));
    context.run_for(kTestLimit);
    REQUIRE(outcome.has_value());
    REQUIRE_FALSE(outcome->has_value());
    CHECK(outcome->error().code == base::Code::guest_failure);
    CHECK(outcome->error().reason == "protocol_error");
  }

  TEST_CASE("a deadline cancels what waits") {
    Pair pair;
    base::Code code{};
    pair.spawn([](Pair& p, base::Code& got) -> Awaitable<void> {
      auto stream = p.client->request(connect_headers("a:1"), EndStream::no);
      const auto result =
          co_await base::with_deadline<void>(base::deadline_in(50ms), "wait for an answer", stream->response());
      got = result.error().code;
      p.client->close();
    }(pair, code));
    pair.run();
    CHECK(code == base::Code::timeout);
  }
}
