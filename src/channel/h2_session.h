#pragma once
// H2Session: one HTTP/2 connection (RFC 9113) as a state machine over bytes, without I/O: libnghttp2 does the protocol,
// this class adds caps and flow control that a reader cannot forget. Host and guest both use it, each with its own
// event loop.
//
//   bytes from the peer ──> receive() ──> Handler::on_* callbacks
//   submit_*/write/finish ──> pull() ──> bytes for the peer
//
// Flow control: the peer may send at most `stream_window` bytes on a stream until the application calls consumed(). A
// reader that stops reading stops its own stream only: connection_window covers all streams at once. A callback may
// call any method but receive() and pull().
#include "src/base/os/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

struct nghttp2_session;

namespace cleanroom::channel {

using StreamId = std::int32_t;

struct Header {
  std::string name;  // lower case
  std::string value;
};
using Headers = std::vector<Header>;
// First value of that name, or null.
const std::string* find_header(const Headers& headers, std::string_view name);

enum class Role { client, server };
enum class EndStream { no, yes };

// Caps on what a peer may make us hold. The defaults are those of the network stream.
struct H2Limits {
  std::uint32_t max_streams = 256;             // open at once, opened by the peer
  std::uint32_t stream_window = 64 * 1024;     // unread bytes a stream
  std::uint32_t connection_window = 16 << 20;  // max_streams * stream_window: no stream starves another
  std::size_t max_header_bytes = 16 * 1024;    // a header section, names and values
  std::size_t send_buffer = 256 * 1024;        // bytes write() holds a stream before it takes no more
};
// Few streams, bulk data: exec output and tar streams.
inline constexpr H2Limits kControlLimits{.max_streams = 16, .stream_window = 1 << 20, .connection_window = 16 << 20};

class H2Session {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    // Server: a request. Client: the final response.
    virtual void on_headers(StreamId stream, Headers headers, EndStream end) = 0;
    // The bytes count against the stream's window until consumed().
    virtual void on_data(StreamId stream, std::span<const std::byte> bytes) = 0;
    // The peer sends nothing more on it (not called when on_headers said EndStream::yes).
    virtual void on_end(StreamId stream) = 0;
    // Gone for good, `error_code` of RFC 9113 section 7 (0 = both sides ended it). Comes once for every stream that
    // on_headers told of or submit_request() made, and for no other.
    virtual void on_closed(StreamId stream, std::uint32_t error_code) = 0;
    // write() took less than all before, and has room again.
    virtual void on_writable(StreamId stream) = 0;
  };

  // `handler` must outlive the session.
  H2Session(Role role, const H2Limits& limits, Handler& handler);
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;
  ~H2Session();

  // guest_failure/protocol_error: the connection is beyond repair; send what pull() still gives, then close.
  base::Result<void> receive(std::span<const std::byte> bytes);
  // Appends what is to be sent, until `into` holds `soft_limit` bytes or there is nothing more.
  base::Result<void> pull(std::vector<std::byte>& into, std::size_t soft_limit);
  bool wants_to_send() const;
  // True when neither side will send or receive any more (GOAWAY or error). Streams that are left get no on_closed.
  bool is_finished() const;

  // Client only. EndStream::yes = a request without a body. cancelled: GOAWAY was sent or received.
  base::Result<StreamId> submit_request(const Headers& headers, EndStream end);
  // Server only, once a stream.
  base::Result<void> submit_response(StreamId stream, const Headers& headers, EndStream end);
  // Takes as much as the send buffer has room for; on_writable tells when to go on. 0 on a stream that is closed or
  // finished.
  std::size_t write(StreamId stream, std::span<const std::byte> bytes);
  // What write() would take, or 0 while that is less than half of the send buffer: on_writable tells when to ask again.
  std::size_t room(StreamId stream);
  // No more data from us on it, after what is buffered.
  void finish(StreamId stream);
  // RST_STREAM; on_closed follows.
  void reset(StreamId stream, std::uint32_t error_code);
  // The application is done with `size` bytes of on_data. What it did not consume of a closed stream counts as
  // consumed.
  void consumed(StreamId stream, std::size_t size);
  // GOAWAY: no new streams; those open go on.
  void shut_down();

  struct Stream;  // defined in the .cpp
  struct Callbacks;

 private:
  Stream* find(StreamId stream);

  H2Limits limits_;
  Handler& handler_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<StreamId, std::unique_ptr<Stream>> streams_;
  std::vector<std::byte>* pulling_ = nullptr;  // what pull() fills, while it runs
  std::size_t pull_limit_ = 0;
};

// Error codes of RFC 9113 section 7 that we send.
inline constexpr std::uint32_t kNoError = 0x0;
inline constexpr std::uint32_t kProtocolError = 0x1;
inline constexpr std::uint32_t kInternalError = 0x2;
inline constexpr std::uint32_t kRefusedStream = 0x7;
inline constexpr std::uint32_t kCancel = 0x8;
inline constexpr std::uint32_t kConnectError = 0xa;
inline constexpr std::uint32_t kEnhanceYourCalm = 0xb;

}  // namespace cleanroom::channel
