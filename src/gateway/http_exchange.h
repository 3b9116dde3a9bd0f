#pragma once
// HttpExchange: one HTTP/1.1 request of a guest on a tunnel into the gateway, and the answer to it. serve_http() runs
// the exchanges of one tunnel, one after the other.
//
// What the guest sends passes HttpRequestGuard first (src/egress/http_request_guard.h), so only the unambiguous part of
// HTTP gets here; what it breaks is answered 400, and the connection ends. Answers are ours: status, fields from a
// handler, Content-Length or chunked.
#include "src/channel/h2_connection.h"
#include "src/gateway/http_message.h"
#include "src/model/host_name.h"
#include "src/model/reason.h"

#include <functional>
#include <memory>

namespace cleanroom::gateway {

struct Answer {
  unsigned status = 200;
  std::vector<Field> fields;                    // without framing and Connection
  std::optional<std::uint64_t> content_length;  // nullopt: chunked
};

class HttpExchange {
 public:
  struct Connection;
  explicit HttpExchange(Connection& connection) : connection_(connection) {}
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  const MessageHead& request() const;
  std::uint64_t connection_id() const;
  // At least one byte, or 0 at the end of the body. Answers `Expect: 100-continue` before the first read waits.
  // invalid_input: the guest broke HTTP; unavailable: it left.
  base::Awaitable<base::Result<std::size_t>> read_body(std::span<std::byte> into);
  // gateway_limit when it is larger.
  base::Awaitable<base::Result<std::string>> read_whole_body(std::size_t limit);

  // Once; then write(), then finish(). Without finish() the connection ends there, so that a guest never takes a part
  // for the whole.
  base::Awaitable<base::Result<void>> respond(Answer answer);
  base::Awaitable<base::Result<void>> write(std::span<const std::byte> bytes);
  base::Awaitable<base::Result<void>> finish();
  // A whole answer of plain text, with `cleanroom-reason`.
  base::Awaitable<base::Result<void>> respond_text(unsigned status, model::Reason reason, std::string text);

  // For serve_http(), after the handler: true when the next request can be read.
  base::Awaitable<bool> settle();

  bool has_responded() const { return responded_; }
  bool has_finished() const { return finished_; }
  unsigned status() const { return status_; }
  std::uint64_t bytes_up() const { return bytes_up_; }  // of the bodies
  std::uint64_t bytes_down() const { return bytes_down_; }

 private:
  friend struct Connection;
  base::Awaitable<base::Result<void>> send(std::string text);
  Connection& connection_;
  bool responded_ = false;
  bool finished_ = false;
  bool chunked_ = false;
  bool continued_ = false;
  unsigned status_ = 0;
  std::uint64_t left_ = 0;  // of an announced length
  std::uint64_t bytes_up_ = 0;
  std::uint64_t bytes_down_ = 0;
};

using HttpHandler = std::function<base::Awaitable<void>(HttpExchange&)>;

// Returns when the guest has ended the tunnel, broken HTTP, or been idle. `host` is the name it must say in Host.
// `on_malformed` hears of requests that never reached the handler; its text is fixed.
base::Awaitable<void> serve_http(channel::H2Stream stream, std::uint64_t connection_id, model::HostName host,
                                 HttpHandler handler, std::function<void(std::string_view problem)> on_malformed);

}  // namespace cleanroom::gateway
