#include "src/gateway/http_exchange.h"

#include "src/base/async/event.h"
#include "src/base/os/io.h"
#include "src/egress/http_request_guard.h"
#include "src/gateway/limits.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/beast/http/status.hpp>

#include <algorithm>
#include <cstring>

namespace cleanroom::gateway {

using namespace base::asio::experimental::awaitable_operators;
using base::Awaitable;
using base::Code;
using base::Result;
using egress::HttpRequestGuard;

namespace {

constexpr std::uint16_t kGatewayPort = 80;
constexpr auto kCloseLimit = std::chrono::seconds(5);

// RFC 9112 section 8: a request whose body ends early is incomplete.
base::Failure guest_left() {
  return base::fail(Code::invalid_input, "gateway_request_invalid", "the request ends before its body does");
}

}  // namespace

struct HttpExchange::Connection {
  Connection(channel::H2Stream s, std::uint64_t number, model::HostName host)
      : stream(std::move(s)), id(number), guard(std::move(host), kGatewayPort), reader(MessageKind::request) {}

  channel::H2Stream stream;
  std::uint64_t id;
  HttpRequestGuard guard;
  MessageReader reader;
  std::vector<std::byte> judged;  // passed the guard, not yet with the reader
  std::size_t taken = 0;          // of `judged`

  bool malformed() const { return guard.state() != HttpRequestGuard::State::checking; }
  std::string_view problem() const {
    return guard.state() == HttpRequestGuard::State::upgrade_asked ? "an upgrade is not possible here"
                                                                   : std::string_view(guard.problem());
  }
  bool move_judged();
  Awaitable<Result<bool>> more_input();
};

// From the guard to the reader; false when there was nothing, or no room.
bool HttpExchange::Connection::move_judged() {
  const auto room = reader.prepare();
  const auto size = std::min(room.size(), judged.size() - taken);
  if (size == 0) return false;
  std::memcpy(room.data(), judged.data() + taken, size);
  reader.commit(size);
  taken += size;
  if (taken == judged.size()) {
    judged.clear();
    taken = 0;
  }
  return true;
}

// False at the end of the guest's stream.
Awaitable<Result<bool>> HttpExchange::Connection::more_input() {
  if (move_judged()) co_return true;
  if (malformed()) co_return base::fail(Code::invalid_input, "gateway_request_invalid", std::string(problem()));
  std::vector<std::byte> buffer(kIoBuffer);
  const auto deadline = base::deadline_in(kGuestIdleLimit);
  CR_CO_ASSIGN(const auto n, co_await base::with_deadline(deadline, "read a request", stream.read(buffer)));
  if (n == 0) co_return false;
  (void)guard.feed(std::span<const std::byte>(buffer).first(n), judged);
  // A refusal counts after the requests before it: what passed is still in `judged`.
  (void)move_judged();
  co_return true;
}

const MessageHead& HttpExchange::request() const {
  return connection_.reader.head();
}

std::uint64_t HttpExchange::connection_id() const {
  return connection_.id;
}

Awaitable<Result<void>> HttpExchange::send(std::string text) {
  const auto deadline = base::deadline_in(kGuestWriteLimit);
  auto write = connection_.stream.write_all(base::as_bytes(text));
  co_return co_await base::with_deadline(deadline, "answer the guest", std::move(write));
}

Awaitable<Result<std::size_t>> HttpExchange::read_body(std::span<std::byte> into) {
  auto& reader = connection_.reader;
  for (;;) {
    CR_CO_ASSIGN(const auto n, reader.read_body(into));
    bytes_up_ += n;
    if (n > 0 || reader.is_done()) co_return n;
    if (!continued_ && !responded_ && request().field("expect").value_or("") == "100-continue") {
      continued_ = true;
      CR_CO_TRY(co_await send("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    CR_CO_ASSIGN(const bool more, co_await connection_.more_input());
    if (!more) co_return guest_left();
  }
}

Awaitable<Result<std::string>> HttpExchange::read_whole_body(std::size_t limit) {
  std::string body;
  std::vector<std::byte> buffer(kIoBuffer);
  for (;;) {
    CR_CO_ASSIGN(const auto n, co_await read_body(buffer));
    if (n == 0) co_return body;
    if (body.size() + n > limit)
      co_return base::fail(Code::invalid_input, "gateway_limit",
                           fmt::format("the request's body is larger than {} bytes", limit));
    body += base::as_text(std::span<const std::byte>(buffer).first(n));
  }
}

Awaitable<Result<void>> HttpExchange::respond(Answer answer) {
  responded_ = true;
  status_ = answer.status;
  chunked_ = !answer.content_length && !request().http_1_0;
  left_ = answer.content_length.value_or(0);
  const auto phrase = boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(answer.status));
  auto head = fmt::format("HTTP/1.1 {} {}\r\n", answer.status, std::string_view(phrase.data(), phrase.size()));
  for (const auto& field : answer.fields)
    head += fmt::format("{}: {}\r\n", field.name, field.value);
  if (answer.content_length)
    head += fmt::format("content-length: {}\r\n", *answer.content_length);
  else if (chunked_)
    head += "transfer-encoding: chunked\r\n";
  head += request().keep_alive && (chunked_ || answer.content_length) ? "\r\n" : "connection: close\r\n\r\n";
  co_return co_await send(std::move(head));
}

Awaitable<Result<void>> HttpExchange::write(std::span<const std::byte> bytes) {
  left_ -= std::min<std::uint64_t>(left_, bytes.size());
  if (bytes.empty() || request().method == "HEAD") co_return Result<void>{};
  std::string frame;
  frame.reserve(bytes.size() + 32);
  if (chunked_) frame = fmt::format("{:x}\r\n", bytes.size());
  frame += base::as_text(bytes);
  if (chunked_) frame += "\r\n";
  bytes_down_ += bytes.size();
  co_return co_await send(std::move(frame));
}

Awaitable<Result<void>> HttpExchange::finish() {
  if (left_ > 0) co_return base::fail(Code::internal, "an answer shorter than announced");
  finished_ = true;
  if (chunked_ && request().method != "HEAD") co_return co_await send("0\r\n\r\n");
  co_return Result<void>{};
}

Awaitable<Result<void>> HttpExchange::respond_text(unsigned status, model::Reason reason, std::string text) {
  text += "\n";
  Answer answer{.status = status,
                .fields = {{"content-type", "text/plain; charset=utf-8"},
                           {"cleanroom-reason", std::string(model::to_string(reason))},
                           {"cache-control", "no-store"}},
                .content_length = text.size()};
  CR_CO_TRY(co_await respond(std::move(answer)));
  CR_CO_TRY(co_await write(base::as_bytes(text)));
  co_return co_await finish();
}

Awaitable<bool> HttpExchange::settle() {
  if (!request().keep_alive || request().http_1_0) co_return false;
  std::vector<std::byte> buffer(kIoBuffer);
  for (std::size_t drained = 0; !connection_.reader.is_done();) {
    // A client that waits for 100 sends no body after a final answer: the connection's state is unclear.
    if (request().field("expect") != std::string_view() && !continued_) co_return false;
    const auto n = co_await read_body(buffer);
    if (!n || (drained += *n) > kMaxDrainBytes) co_return false;
  }
  co_return true;
}

namespace {

using Connection = HttpExchange::Connection;

enum class Next { request, malformed, over };

Awaitable<Next> next_request(Connection& connection) {
  for (;;) {
    const auto whole = connection.reader.read_head();
    if (!whole) co_return Next::malformed;
    // The guard lets one pass, for servers that can switch.
    if (*whole) co_return connection.reader.head().field("upgrade") == "" ? Next::request : Next::malformed;
    const auto more = co_await connection.more_input();
    if (!more) co_return more.error().code == Code::invalid_input ? Next::malformed : Next::over;
    if (!*more) co_return Next::over;
  }
}

Awaitable<void> refuse_malformed(Connection& connection) {
  constexpr std::string_view kAnswer =
      "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
      "cleanroom-reason: gateway_request_invalid\r\ncontent-length: 39\r\nconnection: close\r\n\r\n"
      "the gateway does not accept this HTTP.\n";
  const auto deadline = base::deadline_in(kGuestWriteLimit);
  auto write = connection.stream.write_all(base::as_bytes(kAnswer));
  (void)co_await base::with_deadline(deadline, "answer the guest", std::move(write));
}

}  // namespace

Awaitable<void> serve_http(channel::H2Stream stream, std::uint64_t connection_id, model::HostName host,
                           HttpHandler handler, std::function<void(std::string_view)> on_malformed) {
  Connection connection(std::move(stream), connection_id, std::move(host));
  bool going = true;
  while (going) {
    const auto next = co_await next_request(connection);
    if (next == Next::malformed) {
      on_malformed(connection.malformed() ? connection.problem() : "not an HTTP/1.1 request");
      co_await refuse_malformed(connection);
    }
    if (next != Next::request) break;
    HttpExchange exchange(connection);
    // A guest that resets its tunnel ends what waits for upstream.
    co_await (handler(exchange) || connection.stream.wait_closed());
    // A part of an answer must not end like a whole one.
    if (!exchange.has_finished()) {
      connection.stream.reset(channel::kCancel);
      co_return;
    }
    going = co_await exchange.settle();
    connection.reader.next();
  }
  connection.stream.finish();
  const auto deadline = base::deadline_in(kCloseLimit);
  auto closed = [](channel::H2Stream& s) -> Awaitable<Result<void>> {
    co_await s.wait_closed();
    co_return Result<void>{};
  };
  auto wait = closed(connection.stream);
  (void)co_await base::with_deadline(deadline, "end a connection", std::move(wait));
}

}  // namespace cleanroom::gateway
