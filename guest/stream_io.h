#pragma once
// The two directions between an HTTP/2 stream and a descriptor, with back-pressure: what has no room waits here, and
// its source is not read meanwhile.
#include "guest/loop.h"
#include "src/channel/h2_session.h"

#include <functional>

namespace cleanroom::guest {

// Bytes for a stream.
class StreamWriter {
 public:
  StreamWriter(channel::H2Session& session, channel::StreamId stream) : session_(session), stream_(stream) {}
  // Only when it is empty. True when all was taken.
  bool push(std::vector<std::byte> bytes);
  bool push_more();  // on_writable: true when nothing waits any more
  bool empty() const { return waiting_.empty(); }

 private:
  channel::H2Session& session_;
  channel::StreamId stream_;
  std::vector<std::byte> waiting_;
};

// Bytes of a stream on their way into a non-blocking descriptor. At most a stream's window waits.
class StreamToFd {
 public:
  StreamToFd(Loop& loop, channel::H2Session& session, channel::StreamId stream)
      : loop_(loop), session_(session), stream_(stream) {}
  ~StreamToFd() { close(); }
  StreamToFd(const StreamToFd&) = delete;
  StreamToFd& operator=(const StreamToFd&) = delete;

  void open(base::Fd fd);
  void push(std::span<const std::byte> bytes);  // dropped when the reader is gone
  // After what was pushed: `last` if any, then close.
  void end(std::vector<std::byte> last);
  void close();

 private:
  void write_some();

  Loop& loop_;
  channel::H2Session& session_;
  channel::StreamId stream_;
  base::Fd fd_;
  std::vector<std::byte> waiting_;
  std::size_t unconsumed_ = 0;  // of `waiting_`, what counts against the stream's window
  bool ended_ = false;
};

}  // namespace cleanroom::guest
