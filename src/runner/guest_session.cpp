#include "src/runner/guest_session.h"

#include "src/base/os/ascii.h"
#include "src/base/os/io.h"

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

namespace cleanroom::runner {

namespace asio = base::asio;
using base::Awaitable;
using base::Code;
using base::kTuple;
using base::Result;
using channel::EndStream;
using channel::H2Stream;
using channel::Headers;

namespace {

constexpr std::size_t kReadBuffer = 64 * 1024;

base::Error agent_lost() {
  return base::Error(Code::guest_failure, "agent_lost", "the guest's agent was lost before the job's exit status came");
}

Headers request_headers(std::string method, std::string target) {
  return {{":method", std::move(method)}, {":scheme", "http"}, {":authority", "guest"}, {":path", std::move(target)}};
}

Awaitable<Result<void>> read_ready(channel::StreamSocket& socket) {
  std::array<std::byte, channel::kReadySize> ready{};
  auto [ec, size] = co_await asio::async_read(socket, asio::buffer(ready), kTuple);
  if (ec) {
    co_return base::fail(Code::guest_failure, "launch_failed",
                         "cannot start the VM: it ended before its agent was ready");
  }
  CR_CO_TRY(channel::decode_ready(ready));
  co_return Result<void>{};
}

Awaitable<Result<void>> send_start(channel::StreamSocket& socket, channel::StartRecord start) {
  const auto bytes = channel::encode(start);
  auto [ec, size] = co_await asio::async_write(socket, asio::buffer(bytes), kTuple);
  if (ec) co_return base::fail(Code::guest_failure, "launch_failed", "cannot start the VM: it ended at START");
  co_return Result<void>{};
}

base::Failure launch_failure(base::Error error) {
  if (error.code == Code::timeout) error.reason = "launch_timeout";
  return base::fail(std::move(error));
}

// An answer other than 2xx, with the guest's one line of text.
Awaitable<Result<void>> expect_success(H2Stream& stream) {
  CR_CO_TRY(co_await stream.response());
  const std::string* status = channel::find_header(stream.headers(), ":status");
  if (status != nullptr && status->starts_with("2")) co_return Result<void>{};
  std::string text;
  std::array<std::byte, channel::kMaxErrorText> buffer{};
  const auto n = co_await stream.read(buffer);
  for (const char c : base::as_text(std::span(buffer).first(n ? *n : 0)))
    text += base::is_ascii_printable(c) ? c : ' ';
  co_return base::fail(
      Code::guest_failure, "protocol_error",
      fmt::format("the guest's agent refuses a request: {} {}", status != nullptr ? *status : "?", text));
}

// Keeps what the decoder finds until the coroutine can hand it on.
class FrameCollector final : public channel::FrameDecoder::Sink {
 public:
  struct Piece {
    channel::FrameType type;
    std::span<const std::byte> bytes;
  };
  void on_output(channel::FrameType type, std::span<const std::byte> bytes) override {
    pieces.push_back({type, bytes});
  }
  void on_exited(const channel::Exited& value) override { exited = value; }
  void on_failed(const channel::ExecFailed& value) override { failed = value; }

  std::vector<Piece> pieces;
  std::optional<channel::Exited> exited;
  std::optional<channel::ExecFailed> failed;
};

std::string printable(std::string_view text) {
  std::string clean;
  for (const char c : text)
    clean += base::is_ascii_printable(c) ? c : '?';
  return clean;
}

}  // namespace

GuestSession::~GuestSession() {
  connection_->close();
}

Awaitable<Result<void>> await_ready(channel::StreamSocket& control, base::Deadline deadline) {
  auto ready = co_await base::with_deadline<void>(deadline, "start the VM", read_ready(control));
  if (!ready) co_return launch_failure(std::move(ready).error());
  co_return Result<void>{};
}

Awaitable<Result<std::unique_ptr<GuestSession>>> GuestSession::start(channel::StreamSocket socket,
                                                                     channel::StartRecord start,
                                                                     base::Deadline deadline) {
  auto sent = co_await base::with_deadline<void>(deadline, "start the VM", send_start(socket, std::move(start)));
  if (!sent) co_return launch_failure(std::move(sent).error());
  auto connection = channel::H2Connection::create(std::move(socket), channel::Role::client, channel::kControlLimits);
  asio::co_spawn(co_await asio::this_coro::executor, connection->run(), asio::detached);
  std::unique_ptr<GuestSession> session(new GuestSession(std::move(connection)));
  auto health = session->call(request_headers("GET", "/v1/health"), EndStream::yes);
  auto answered = co_await base::with_deadline<H2Stream>(deadline, "reach the guest's agent", std::move(health));
  if (!answered) {
    base::Error error = std::move(answered).error();
    error.reason = error.code == Code::timeout ? "launch_timeout" : "launch_failed";
    co_return base::fail(std::move(error));
  }
  co_return session;
}

Awaitable<Result<H2Stream>> GuestSession::call(Headers headers, EndStream end) {
  auto stream = connection_->request(headers, end);
  if (!stream) co_return base::fail(std::move(stream).error());
  CR_CO_TRY(co_await expect_success(*stream));
  co_return std::move(*stream);
}

Awaitable<Result<channel::Exited>> GuestSession::exec(channel::ExecRequest request, JobOutputSink& sink) {
  auto opened = connection_->request(request_headers("POST", "/v1/exec"), EndStream::no);
  if (!opened) co_return base::fail(agent_lost());
  H2Stream stream = std::move(*opened);
  const auto record = channel::encode(request);
  if (!co_await stream.write_all(record)) co_return base::fail(agent_lost());
  stream.finish();
  if (auto accepted = co_await expect_success(stream); !accepted) {
    if (accepted.error().code == Code::unavailable) co_return base::fail(agent_lost());
    co_return base::fail(std::move(accepted).error());
  }

  FrameCollector frames;
  channel::FrameDecoder decoder(frames);
  std::vector<std::byte> buffer(kReadBuffer);
  while (!decoder.is_complete()) {
    const auto n = co_await stream.read(buffer);
    if (!n || *n == 0) co_return base::fail(agent_lost());
    frames.pieces.clear();
    auto decoded = decoder.feed(std::span(buffer).first(*n));
    // What came before a protocol error is still the job's output.
    for (const auto& piece : frames.pieces)
      CR_CO_TRY(co_await sink.write(piece.type, piece.bytes));
    if (!decoded) co_return base::fail(std::move(decoded).error());
  }
  if (frames.failed) {
    const bool absent = frames.failed->os_errno == ENOENT;
    co_return base::fail(absent ? Code::not_found : Code::failed_precondition, "command_not_started",
                         fmt::format("cannot start the command in the guest: {}", printable(frames.failed->message)));
  }
  co_return *frames.exited;
}

Awaitable<void> GuestSession::signal(std::string exec_id, int number, base::Deadline deadline) {
  auto target = fmt::format("/v1/exec/signal?exec={}&signal={}", channel::percent_encode(exec_id), number);
  auto sent = call(request_headers("POST", std::move(target)), EndStream::yes);
  (void)co_await base::with_deadline<H2Stream>(deadline, "signal the job", std::move(sent));
}

Awaitable<Result<void>> GuestSession::fetch_files(std::string directory, std::vector<std::string> patterns,
                                                  asio::posix::stream_descriptor& into) {
  std::string target = "/v1/files?path=" + channel::percent_encode(directory);
  for (const auto& pattern : patterns)
    target += "&pattern=" + channel::percent_encode(pattern);
  auto opened = co_await call(request_headers("GET", std::move(target)), EndStream::yes);
  if (!opened) co_return base::fail(std::move(opened).error());
  std::vector<std::byte> buffer(kReadBuffer);
  for (;;) {
    const auto n = co_await opened->read(buffer);
    if (!n)
      co_return base::fail(Code::guest_failure, "agent_lost", "cannot fetch the outputs: the guest's agent was lost");
    if (*n == 0) co_return Result<void>{};
    auto [ec, written] = co_await asio::async_write(into, asio::buffer(buffer.data(), *n), kTuple);
    if (ec) co_return Result<void>{};
  }
}

Awaitable<Result<void>> GuestSession::put_files(std::string directory, std::vector<std::byte> tar) {
  auto opened = connection_->request(request_headers("PUT", "/v1/files?path=" + channel::percent_encode(directory)),
                                     EndStream::no);
  if (!opened) co_return base::fail(std::move(opened).error());
  CR_CO_TRY(co_await opened->write_all(tar));
  opened->finish();
  co_return co_await expect_success(*opened);
}

}  // namespace cleanroom::runner
