#pragma once
// H2Connection drives an H2Session over a Unix stream socket with Asio coroutines: the host's side of both channels.
//
// One thread. run() must be spawned once; everything else waits for what run() reads. When run() ends (end of file,
// protocol error, close()), every waiting call returns an error and no stream hangs.
#include "src/base/async/asio.h"
#include "src/base/async/event.h"
#include "src/channel/h2_session.h"

#include <boost/asio/local/stream_protocol.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>

namespace cleanroom::channel {

using StreamSocket = base::asio::local::stream_protocol::socket;

class H2Connection;

// One request or CONNECT tunnel. The destructor resets (CANCEL) what is still open. Keeps its connection's memory
// alive.
class H2Stream {
 public:
  struct State;
  H2Stream(std::shared_ptr<H2Connection> connection, std::shared_ptr<State> state);
  H2Stream(H2Stream&&) noexcept = default;
  H2Stream& operator=(H2Stream&& other) noexcept;
  ~H2Stream();

  StreamId id() const;
  // The request's headers (server), or the response's after response() (client).
  const Headers& headers() const;
  // Client: waits for the response. unavailable/agent_lost when the stream or connection ends first.
  base::Awaitable<base::Result<void>> response();
  // Server. Once.
  base::Result<void> respond(const Headers& headers, EndStream end);
  // At most into.size() bytes, at least one; 0 = the peer ended its side. unavailable: reset, or the connection is
  // gone.
  base::Awaitable<base::Result<std::size_t>> read(std::span<std::byte> into);
  // All that has come and was not read, at least one byte; empty = the peer ended its side. It stays charged to the
  // stream's window until give_back(). Errors as of read().
  base::Awaitable<base::Result<std::vector<std::byte>>> take();
  void give_back(std::size_t size);
  // Waits until at least half of the send buffer is free; returns how much write_some() takes for sure.
  base::Awaitable<base::Result<std::size_t>> room();
  std::size_t write_some(std::span<const std::byte> bytes);
  // Waits while the send buffer is full. Returns when all is buffered, not when it has arrived.
  base::Awaitable<base::Result<void>> write_all(std::span<const std::byte> bytes);
  // Waits until the peer has closed the stream or the connection ended.
  base::Awaitable<void> wait_closed();
  void finish();
  void reset(std::uint32_t error_code);

 private:
  void abandon() noexcept;
  std::shared_ptr<H2Connection> connection_;
  std::shared_ptr<State> state_;
};

class H2Connection : public std::enable_shared_from_this<H2Connection>, private H2Session::Handler {
 public:
  static std::shared_ptr<H2Connection> create(StreamSocket socket, Role role, const H2Limits& limits);

  // Reads and writes until the connection ends. A clean end of file is success.
  base::Awaitable<base::Result<void>> run();
  // Client.
  base::Result<H2Stream> request(const Headers& headers, EndStream end);
  // Server: the next request. unavailable when the connection has ended.
  base::Awaitable<base::Result<H2Stream>> accept();
  void close();
  bool is_closed() const { return closed_; }

 private:
  friend class H2Stream;
  H2Connection(StreamSocket socket, Role role, const H2Limits& limits);
  base::Awaitable<base::Result<void>> read_loop();
  base::Awaitable<base::Result<void>> write_loop();
  void end_all_streams();
  std::shared_ptr<H2Stream::State> add(StreamId id);
  void kick() { wake_writer_.notify_all(); }

  void on_headers(StreamId stream, Headers headers, EndStream end) override;
  void on_data(StreamId stream, std::span<const std::byte> bytes) override;
  void on_end(StreamId stream) override;
  void on_closed(StreamId stream, std::uint32_t error_code) override;
  void on_writable(StreamId stream) override;

  StreamSocket socket_;
  Role role_;
  H2Session session_;
  base::Event wake_writer_;
  base::Event incoming_;
  std::unordered_map<StreamId, std::shared_ptr<H2Stream::State>> streams_;
  std::deque<std::shared_ptr<H2Stream::State>> accepted_;
  bool closed_ = false;
};

}  // namespace cleanroom::channel
