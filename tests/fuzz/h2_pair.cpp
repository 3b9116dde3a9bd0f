// F1. Two sessions that talk to each other, whatever their applications do and however the bytes are cut: each stream
// receives the bytes that were written to it and no other's, unread bytes stay within the windows, unsent ones within
// the send buffer, and once both have finished every stream is closed on both sides with everything delivered. Only a
// connection that one side shut down leaves streams to the owners, who close it. A reset goes out before more is read:
// nghttp2 counts the stream as open until then, and a peer that is at the limit of streams may know better.
#include "src/channel/h2_session.h"
#include "tests/fuzz/support.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <map>

using namespace cleanroom;
using namespace cleanroom::channel;

namespace {

constexpr H2Limits kLimits{.max_streams = 4,
                           .stream_window = 64 * 1024,
                           .connection_window = 128 * 1024,
                           .max_header_bytes = 1024,
                           .send_buffer = 20'000};

// What byte `offset` of a stream is: differs between streams, directions and places.
std::byte content(Role from, StreamId stream, std::size_t offset) {
  const std::size_t seed = offset * 31 + static_cast<std::size_t>(stream) * 7 + (from == Role::client ? 0 : 101);
  return static_cast<std::byte>((seed ^ (seed >> 8)) & 0xff);
}

class End final : public H2Session::Handler {
 public:
  explicit End(Role own_role) : role(own_role), session(own_role, kLimits, *this) {}

  struct Stream {
    std::size_t written = 0;
    std::size_t received = 0;
    std::size_t unread = 0;
    bool answered = false;
    bool ended = false;
    bool closed = false;
    std::uint32_t error = 0;
  };

  void on_headers(StreamId id, Headers headers, EndStream end) override {
    FUZZ_CHECK(find_header(headers, role == Role::server ? ":method" : ":status") != nullptr);
    FUZZ_CHECK((streams.count(id) > 0) == (role == Role::client));
    auto& stream = open(id);
    FUZZ_CHECK(!stream.ended);
    stream.ended = end == EndStream::yes;
  }
  void on_data(StreamId id, std::span<const std::byte> bytes) override {
    auto& stream = open(id);
    FUZZ_CHECK(!stream.ended);
    const Role peer = role == Role::client ? Role::server : Role::client;
    for (const auto byte : bytes)
      FUZZ_CHECK(byte == content(peer, id, stream.received++));
    stream.unread += bytes.size();
    FUZZ_CHECK(stream.unread <= kLimits.stream_window);
    std::size_t unread = 0;
    for (const auto& [other, state] : streams)
      unread += state.closed ? 0 : state.unread;
    FUZZ_CHECK(unread <= kLimits.connection_window);
    if (reads_at_once) consume(id, bytes.size());
  }
  void on_end(StreamId id) override {
    auto& stream = open(id);
    FUZZ_CHECK(!stream.ended);
    stream.ended = true;
  }
  void on_closed(StreamId id, std::uint32_t error) override {
    auto& stream = open(id);
    stream.closed = true;
    stream.error = error;
  }
  void on_writable(StreamId id) override { open(id); }

  Stream& open(StreamId id) {
    auto& stream = streams[id];
    FUZZ_CHECK(!stream.closed);
    return stream;
  }
  void consume(StreamId id, std::size_t size) {
    auto& stream = streams[id];
    size = std::min(size, stream.unread);
    stream.unread -= size;
    session.consumed(id, size);
  }
  void write(StreamId id, std::size_t size) {
    auto& stream = streams[id];
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i < size; ++i)
      bytes.push_back(content(role, id, stream.written + i));
    const auto taken = session.write(id, bytes);
    FUZZ_CHECK(taken <= std::min(size, kLimits.send_buffer));
    FUZZ_CHECK(taken == 0 || !stream.closed);
    stream.written += taken;
  }
  bool all_closed() const {
    return std::all_of(streams.begin(), streams.end(), [](const auto& entry) { return entry.second.closed; });
  }

  const Role role;
  bool reads_at_once = false;
  std::map<StreamId, Stream> streams;
  std::vector<std::byte> outgoing;  // pulled, not yet carried
  H2Session session;
};

class Pair {
 public:
  explicit Pair(FuzzedDataProvider& input) : input_(input) {}

  void step() {
    End& end = input_.ConsumeBool() ? client_ : server_;
    switch (input_.ConsumeIntegralInRange(0, 9)) {
      case 0:
        request();
        break;
      case 1:
      case 2:
        if (const auto id = some_stream(end)) end.write(id, input_.ConsumeIntegralInRange<std::size_t>(0, 40'000));
        break;
      case 3:
        if (const auto id = some_stream(end)) end.session.finish(id);
        break;
      case 4:
        if (const auto id = some_stream(end)) end.consume(id, input_.ConsumeIntegral<std::uint16_t>());
        break;
      case 5:
        if (const auto id = some_stream(end)) reset(end, id);
        break;
      case 6:
        end.reads_at_once = !end.reads_at_once;
        break;
      case 7:
        if (input_.ConsumeIntegralInRange(0, 15) > 0) break;
        shut_down_ = true;
        end.session.shut_down();
        break;
      default:
        carry(end, input_.ConsumeIntegralInRange<std::size_t>(1, 20'000));
        break;
    }
    answer();
  }

  // Everything is read and ended: nothing may be left.
  void settle() {
    for (End* end : {&client_, &server_}) {
      end->reads_at_once = true;
      for (auto& [id, stream] : end->streams)
        end->consume(id, stream.unread);
    }
    for (bool busy = true; busy;) {
      for (End* end : {&client_, &server_}) {
        for (auto& [id, stream] : end->streams)
          end->session.finish(id);
      }
      busy = carry(client_, 1 << 20);
      busy = carry(server_, 1 << 20) || busy;
      answer();
      busy = busy || client_.session.wants_to_send() || server_.session.wants_to_send();
      FUZZ_CHECK(++rounds_ < 10'000);
    }
    const bool all_closed = client_.all_closed() && server_.all_closed();
    FUZZ_CHECK(all_closed || (shut_down_ && (client_.session.is_finished() || server_.session.is_finished())));
    for (const auto& [id, mine] : client_.streams) {
      const auto found = server_.streams.find(id);
      if (found == server_.streams.end()) {
        FUZZ_CHECK(!mine.closed || mine.error != 0);  // it never got there
        continue;
      }
      const auto& other = found->second;
      FUZZ_CHECK(other.received <= mine.written && mine.received <= other.written);
      if (mine.closed && mine.error == 0 && other.closed && other.error == 0)
        FUZZ_CHECK(other.received == mine.written && mine.received == other.written && mine.ended && other.ended);
    }
  }

 private:
  void request() {
    const auto id =
        client_.session.submit_request({{":method", "CONNECT"}, {":authority", "a.test:80"}}, EndStream::no);
    if (!id) return;
    FUZZ_CHECK(client_.streams.count(*id) == 0);
    client_.streams[*id] = {};
  }
  void answer() {
    for (auto& [id, stream] : server_.streams) {
      if (stream.answered || stream.closed) continue;
      stream.answered = true;
      FUZZ_CHECK(server_.session.submit_response(id, {{":status", "200"}}, EndStream::no));
    }
  }
  StreamId some_stream(const End& end) {
    if (end.streams.empty()) return 0;
    auto at = end.streams.begin();
    std::advance(at, input_.ConsumeIntegralInRange<std::size_t>(0, end.streams.size() - 1));
    return at->first;
  }
  static void reset(End& end, StreamId id) {
    end.session.reset(id, kCancel);
    FUZZ_CHECK(end.session.pull(end.outgoing, std::size_t{1} << 30));
  }
  // Up to `size` bytes from one end to the other. False: there were none.
  bool carry(End& from, std::size_t size) {
    End& to = &from == &client_ ? server_ : client_;
    if (from.outgoing.size() < size) FUZZ_CHECK(from.session.pull(from.outgoing, size));
    size = std::min(size, from.outgoing.size());
    if (size == 0) return false;
    FUZZ_CHECK(to.session.receive(std::span(from.outgoing).first(size)));
    from.outgoing.erase(from.outgoing.begin(), from.outgoing.begin() + static_cast<std::ptrdiff_t>(size));
    return true;
  }

  FuzzedDataProvider& input_;
  End client_{Role::client};
  End server_{Role::server};
  bool shut_down_ = false;
  int rounds_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  Pair pair(input);
  constexpr int kMaxSteps = 300;
  for (int step = 0; step < kMaxSteps && input.remaining_bytes() > 0; ++step)
    pair.step();
  pair.settle();
  return 0;
}
