// F1. A session whose peer says anything: frames that are well formed in any order, frames that are not, and plain
// bytes. Data belongs to the stream it was sent on, a stream begins with its headers and ends once, what is unread
// stays within the windows, headers and open streams within their caps, and what the session would send does not grow
// beyond a multiple of what it was sent.
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
constexpr std::size_t kMaxFramePayload = 16'384;  // RFC 9113 section 6.5.2, the default
// Frames (RFC 9113 section 6).
enum : std::uint8_t { kData, kHeaders, kPriority, kReset, kSettings, kPush, kPing, kGoAway, kWindow, kContinuation };

void append_frame(std::string& out, std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                  std::string_view body) {
  for (const int shift : {16, 8, 0})
    out += static_cast<char>(body.size() >> shift & 0xff);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0})
    out += static_cast<char>(stream >> shift & 0xff);
  out += body;
}

// HPACK literals without indexing (RFC 7541 section 6.2.2), texts below 127 bytes.
void append_literal(std::string& out, std::string_view name, std::string_view value) {
  out += '\0';
  for (const auto text : {name, value}) {
    out += static_cast<char>(std::min<std::size_t>(text.size(), 126));
    out += text.substr(0, 126);
  }
}

char tag_of(StreamId stream) {
  return static_cast<char>(stream & 0xff);
}

class Application final : public H2Session::Handler {
 public:
  struct Stream {
    std::size_t unread = 0;
    bool answered = false;
    bool ended = false;
  };

  Application(Role own_role, FuzzedDataProvider& input)
      : role(own_role), input_(input), session(own_role, kLimits, *this) {}

  void on_headers(StreamId id, Headers headers, EndStream end) override {
    FUZZ_CHECK(open.count(id) == (role == Role::client ? 1 : 0));
    std::size_t size = 0;
    for (const auto& [name, value] : headers)
      size += name.size() + value.size();
    FUZZ_CHECK(size <= kLimits.max_header_bytes);
    open[id].ended = end == EndStream::yes;
    FUZZ_CHECK(role == Role::client || open.size() <= kLimits.max_streams);
    react(id);
  }
  void on_data(StreamId id, std::span<const std::byte> bytes) override {
    auto& stream = known(id);
    FUZZ_CHECK(!stream.ended);
    for (const auto byte : bytes)
      FUZZ_CHECK(!tagged || byte == static_cast<std::byte>(tag_of(id)));
    stream.unread += bytes.size();
    FUZZ_CHECK(stream.unread <= kLimits.stream_window);
    std::size_t unread = 0;
    for (const auto& [other, state] : open)
      unread += state.unread;
    FUZZ_CHECK(unread <= kLimits.connection_window);
    react(id);
  }
  void on_end(StreamId id) override {
    auto& stream = known(id);
    FUZZ_CHECK(!stream.ended);
    stream.ended = true;
    react(id);
  }
  void on_closed(StreamId id, std::uint32_t) override {
    known(id);
    open.erase(id);
    FUZZ_CHECK(session.write(id, fuzz::as_bytes("late")) == 0);
  }
  void on_writable(StreamId id) override {
    known(id);
    react(id);
  }

  // What an application may do with a stream, from within a callback too.
  void react(StreamId id) {
    switch (input_.ConsumeIntegralInRange(0, 7)) {
      case 0:
        session.reset(id, kCancel);
        break;
      case 1:
      case 2: {
        auto& stream = open[id];
        const auto size = std::min<std::size_t>(stream.unread, input_.ConsumeIntegral<std::uint16_t>());
        stream.unread -= size;
        session.consumed(id, size);
        break;
      }
      case 3:
        if (role == Role::server && !open[id].answered) {
          open[id].answered = true;
          const auto sent = session.submit_response(id, {{":status", "200"}}, EndStream::no);
          FUZZ_CHECK(sent);
        }
        break;
      case 4: {
        const std::vector<std::byte> bytes(input_.ConsumeIntegralInRange<std::size_t>(0, 30'000));
        FUZZ_CHECK(session.write(id, bytes) <= kLimits.send_buffer);
        written += bytes.size();
        break;
      }
      case 5:
        session.finish(id);
        break;
      default:
        break;
    }
  }

  // A stream that began and is not over. A client's begins when it asks, a server's with the headers.
  Stream& known(StreamId id) {
    const auto found = open.find(id);
    FUZZ_CHECK(found != open.end());
    return found->second;
  }

  const Role role;
  bool tagged = true;  // every DATA frame so far carries the tag of its stream
  std::map<StreamId, Stream> open;
  std::size_t written = 0;

 private:
  FuzzedDataProvider& input_;

 public:
  H2Session session;
};

class Peer {
 public:
  explicit Peer(FuzzedDataProvider& input)
      : input_(input), application_(input.ConsumeBool() ? Role::server : Role::client, input) {
    std::string hello = application_.role == Role::server ? "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" : "";
    append_frame(hello, kSettings, 0, 0, "");
    send(hello);
  }

  // False: the connection is over.
  bool step() {
    if (application_.role == Role::client && input_.ConsumeIntegralInRange(0, 3) == 0) request();
    if (!application_.open.empty() && input_.ConsumeIntegralInRange(0, 3) == 0) {
      auto at = application_.open.begin();
      std::advance(at, input_.ConsumeIntegralInRange<std::size_t>(0, application_.open.size() - 1));
      application_.react(at->first);
    }
    std::string bytes;
    some_frame(bytes);
    if (!send(bytes)) return false;
    return input_.ConsumeIntegralInRange(0, 3) > 0 || pull();
  }

  bool pull() {
    std::vector<std::byte> out;
    constexpr std::size_t kSoftLimit = 1 << 20;
    const bool fine = application_.session.pull(out, kSoftLimit).has_value();
    sent_ += out.size();
    // Acknowledgements, resets and window updates for what came; our own data with a head for each frame.
    FUZZ_CHECK(sent_ <= 1000 + 32 * received_ + 10 * application_.written);
    return fine && !application_.session.is_finished();
  }

 private:
  void request() {
    const Headers headers{{":method", "CONNECT"}, {":authority", "a.test:80"}};
    const auto id = application_.session.submit_request(headers, EndStream::no);
    received_ += 100;  // it may be sent
    if (id) application_.open[*id] = {};
  }

  bool send(std::string_view bytes) {
    received_ += bytes.size();
    bool fine = true;
    fuzz::feed_in_pieces(bytes, input_.PickValueInArray(fuzz::kCuts), [&](std::string_view piece) {
      fine = application_.session.receive(fuzz::as_bytes(piece)).has_value();
      return fine;
    });
    return fine;
  }

  StreamId some_id() {
    if (input_.ConsumeIntegralInRange(0, 15) == 0) return input_.ConsumeIntegralInRange<StreamId>(0, 0x7fffffff);
    return input_.ConsumeIntegralInRange<StreamId>(0, 21);
  }

  void some_frame(std::string& out) {
    const auto id = some_id();
    const auto stream = static_cast<std::uint32_t>(id);
    switch (input_.ConsumeIntegralInRange(0, 7)) {
      case 0:
      case 1:
        append_headers(out, stream);
        break;
      case 2:
      case 3: {
        const auto size = input_.ConsumeIntegralInRange<std::size_t>(0, kMaxFramePayload);
        append_frame(out, kData, input_.ConsumeIntegralInRange<std::uint8_t>(0, 1), stream,
                     std::string(size, tag_of(id)));
        break;
      }
      case 4:
        append_frame(out, kReset, 0, stream, std::string("\0\0\0\x08", 4));
        break;
      case 5:  // the acknowledgement of our settings, or settings of the peer's
        append_frame(out, kSettings, input_.ConsumeIntegralInRange<std::uint8_t>(0, 1), 0,
                     input_.ConsumeBytesAsString(input_.ConsumeIntegralInRange<std::size_t>(0, 2) * 6));
        break;
      case 6: {
        const auto type = input_.ConsumeIntegralInRange<std::uint8_t>(kHeaders, 12);
        append_frame(out, type, input_.ConsumeIntegral<std::uint8_t>(), stream, input_.ConsumeRandomLengthString(64));
        break;
      }
      default:
        application_.tagged = false;
        out += input_.ConsumeRandomLengthString(64);
        break;
    }
  }

  void append_headers(std::string& out, std::uint32_t stream) {
    constexpr std::uint8_t kEndStream = 1;
    constexpr std::uint8_t kEndHeaders = 4;
    std::string block;
    const auto shape = input_.ConsumeIntegralInRange(0, 5);
    if (application_.role == Role::client) {
      append_literal(block, ":status", shape == 0 ? "103" : "200");
    } else if (shape != 0) {  // 0: trailers, if anything
      append_literal(block, ":method", shape == 1 ? "GET" : "CONNECT");
      append_literal(block, ":authority", "a.test:80");
      if (shape == 1) append_literal(block, ":path", "/");
      if (shape == 1) append_literal(block, ":scheme", "http");
    }
    for (auto left = input_.ConsumeIntegralInRange(0, 12); left > 0; --left)
      append_literal(block, "x-filler", std::string(input_.ConsumeIntegralInRange<std::size_t>(0, 126), 'v'));
    const auto flags = static_cast<std::uint8_t>(kEndHeaders | (input_.ConsumeBool() ? kEndStream : 0));
    append_frame(out, kHeaders, flags, stream, block);
  }

  FuzzedDataProvider& input_;
  Application application_;
  std::size_t received_ = 0;
  std::size_t sent_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  Peer peer(input);
  constexpr int kMaxSteps = 300;
  for (int step = 0; step < kMaxSteps && input.remaining_bytes() > 0; ++step)
    if (!peer.step()) break;
  peer.pull();
  return 0;
}
