#include "src/channel/h2_session.h"

#include <doctest/doctest.h>

#include <map>

using namespace cleanroom;
using namespace cleanroom::channel;

namespace {

// One end: remembers what it was told.
class End final : public H2Session::Handler {
 public:
  End(Role role, const H2Limits& limits) : session(role, limits, *this) {}
  void on_headers(StreamId stream, Headers headers, EndStream end) override {
    last = stream;
    received[stream] = std::move(headers);
    if (end == EndStream::yes) ended[stream] = true;
  }
  void on_data(StreamId stream, std::span<const std::byte> bytes) override {
    data[stream].insert(data[stream].end(), bytes.begin(), bytes.end());
    if (consumes) session.consumed(stream, bytes.size());
  }
  void on_end(StreamId stream) override { ended[stream] = true; }
  void on_closed(StreamId stream, std::uint32_t error_code) override { closed[stream] = error_code; }
  void on_writable(StreamId) override { ++writable; }

  H2Session session;
  bool consumes = true;
  StreamId last = 0;
  std::map<StreamId, Headers> received;
  std::map<StreamId, std::vector<std::byte>> data;
  std::map<StreamId, bool> ended;
  std::map<StreamId, std::uint32_t> closed;
  int writable = 0;
};

struct Pair {
  explicit Pair(const H2Limits& limits = {}) : client(Role::client, limits), server(Role::server, limits) {}
  // Carries bytes both ways until both are quiet, `piece` at a time.
  void exchange(std::size_t piece = 1 << 20) {
    for (bool busy = true; busy;) {
      busy = carry(client, server, piece);
      busy = carry(server, client, piece) || busy;
    }
  }
  static bool carry(End& from, End& to, std::size_t piece) {
    std::vector<std::byte> bytes;
    REQUIRE(from.session.pull(bytes, 1 << 20));
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      REQUIRE(to.session.receive(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at))));
    return !bytes.empty();
  }
  StreamId connect() {
    const auto stream =
        client.session.submit_request({{":method", "CONNECT"}, {":authority", "a.test:80"}}, EndStream::no);
    REQUIRE(stream);
    exchange();
    REQUIRE(server.session.submit_response(*stream, {{":status", "200"}}, EndStream::no));
    exchange();
    return *stream;
  }
  End client;
  End server;
};

}  // namespace

TEST_CASE("a tunnel carries bytes both ways and ends by halves, in single bytes too") {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{1} << 20}) {
    Pair pair;
    const StreamId stream = pair.connect();
    CHECK(*find_header(pair.server.received[stream], ":authority") == "a.test:80");
    const std::vector<std::byte> up(10'000, std::byte{1});
    const std::vector<std::byte> down(3, std::byte{2});
    CHECK(pair.client.session.write(stream, up) == up.size());
    pair.client.session.finish(stream);
    pair.exchange(piece);
    CHECK(pair.server.data[stream] == up);
    CHECK(pair.server.ended[stream]);
    CHECK(pair.client.closed.empty());
    pair.server.session.write(stream, down);
    pair.server.session.finish(stream);
    pair.exchange(piece);
    CHECK(pair.client.data[stream] == down);
    CHECK(pair.client.closed.at(stream) == kNoError);
    CHECK(pair.server.closed.at(stream) == kNoError);
  }
}

TEST_CASE("RLY-06 a reader that does not consume holds one window a stream, and only its own stream") {
  const H2Limits limits{.stream_window = 64 * 1024, .connection_window = 1 << 20};
  Pair pair(limits);
  const StreamId slow = pair.connect();
  const StreamId fast = pair.connect();
  pair.server.consumes = false;
  const std::vector<std::byte> much(limits.send_buffer, std::byte{1});
  CHECK(pair.client.session.write(slow, much) == much.size());
  pair.exchange();
  CHECK(pair.server.data[slow].size() == limits.stream_window);
  CHECK(pair.client.session.write(slow, much) < much.size());  // and the writer is told to wait
  pair.server.consumes = true;
  pair.client.session.write(fast, std::span(much).first(1000));
  pair.exchange();
  CHECK(pair.server.data[fast].size() == 1000);
  pair.server.session.consumed(slow, limits.stream_window);
  pair.exchange();
  CHECK(pair.client.writable == 1);
  CHECK(pair.server.data[slow].size() > limits.stream_window);
}

TEST_CASE("what a reset stream left unread does not stay charged to the connection") {
  const H2Limits limits{.stream_window = 64 * 1024, .connection_window = 128 * 1024};
  Pair pair(limits);
  const std::vector<std::byte> window(limits.stream_window, std::byte{1});
  pair.server.consumes = false;
  for (int i = 0; i < 10; ++i) {
    const StreamId stream = pair.connect();
    pair.client.session.write(stream, window);
    pair.exchange();
    CHECK(pair.server.data[stream].size() == window.size());
    pair.server.session.reset(stream, kCancel);
    pair.exchange();
    CHECK(pair.client.closed.at(stream) == kCancel);
  }
}

TEST_CASE("RLY-01 RLY-03 bytes that are no HTTP/2, and frames on streams that are not open, end the connection") {
  const auto server_refuses = [](std::string_view frame) {
    Pair pair;
    pair.exchange();
    return !pair.server.session.receive(std::as_bytes(std::span(frame))) || pair.server.session.is_finished() || [&] {
      std::vector<std::byte> out;
      REQUIRE(pair.server.session.pull(out, 1 << 20));
      return out.size() > 3 && out[3] == std::byte{7};  // GOAWAY
    }();
  };
  using namespace std::string_view_literals;
  CHECK(server_refuses("\0\0\1\0\0\0\0\0\1x"sv));         // DATA on a stream never opened
  CHECK(server_refuses("\0\0\1\0\0\0\0\0\0x"sv));         // DATA on stream 0
  CHECK(server_refuses("\0\0\1\1\4\0\0\0\2\x82"sv));      // HEADERS on an even stream from a client
  CHECK(server_refuses("\xff\xff\xff\0\0\0\0\0\1"sv));    // a frame of 16 MiB
  CHECK(server_refuses("\0\0\4\3\0\0\0\0\5\0\0\0\0"sv));  // RST_STREAM of an idle stream
  Pair pair;
  const std::string_view text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  CHECK_FALSE(pair.server.session.receive(std::as_bytes(std::span(text))));
}

TEST_CASE("RLY-02 a header section over the limit resets its stream, not the connection") {
  Pair pair;
  const auto stream = pair.client.session.submit_request(
      {{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/" + std::string(20'000, 'p')}},
      EndStream::yes);
  REQUIRE(stream);
  pair.exchange();
  CHECK(pair.client.closed.contains(*stream));
  CHECK(pair.server.received.empty());
  // Nor is the server told of the end of what it was not told of.
  CHECK(pair.server.closed.empty());
  CHECK(pair.connect() > *stream);
}

TEST_CASE("a request that GOAWAY keeps from being sent fails instead of hanging") {
  const Headers connect{{":method", "CONNECT"}, {":authority", "a.test:80"}};
  Pair told;
  told.connect();
  told.server.session.shut_down();
  told.exchange();
  Pair idle;
  idle.client.session.shut_down();
  idle.exchange();
  for (auto* pair : {&told, &idle}) {
    const auto late = pair->client.session.submit_request(connect, EndStream::no);
    REQUIRE_FALSE(late);
    CHECK(late.error().code == base::Code::cancelled);
  }
}

TEST_CASE("RLY-03 a stream that is reset twice before it was opened does not cost the others the connection") {
  Pair pair;
  const StreamId first = pair.connect();
  const auto second =
      pair.client.session.submit_request({{":method", "CONNECT"}, {":authority", "a.test:80"}}, EndStream::no);
  REQUIRE(second);
  pair.client.session.reset(*second, kCancel);
  pair.client.session.reset(*second, kCancel);
  pair.exchange();
  pair.client.session.reset(*second, kCancel);
  pair.exchange();
  CHECK(pair.client.closed.at(*second) == kCancel);
  CHECK_FALSE(pair.client.closed.contains(first));
  CHECK(pair.connect() > *second);
}
