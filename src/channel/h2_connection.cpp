#include "src/channel/h2_connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace cleanroom::channel {

using base::Awaitable;
using base::kTuple;
using base::Result;
namespace asio = base::asio;

namespace {

constexpr std::size_t kReadBuffer = 64 * 1024;
constexpr std::size_t kWriteBuffer = 128 * 1024;

base::Error gone(std::string_view what) {
  return base::Error(base::Code::unavailable, fmt::format("cannot {}: the connection to the guest has ended", what));
}

}  // namespace

struct H2Stream::State {
  State(const asio::any_io_executor& executor, StreamId stream)
      : id(stream), readable(executor), writable(executor), ended_for_good(executor) {}
  StreamId id;
  Headers headers;
  bool has_headers = false;
  std::vector<std::byte> in;  // unread; at most one stream window
  std::size_t in_offset = 0;
  bool ended = false;   // the peer sends no more
  bool closed = false;  // gone
  std::uint32_t error_code = 0;
  // Apart, so that each byte that moves wakes only whom it concerns.
  base::Event readable;  // headers, bytes, or the end
  base::Event writable;
  base::Event ended_for_good;
  void wake_all() {
    readable.notify_all();
    writable.notify_all();
    ended_for_good.notify_all();
  }
};

H2Stream::H2Stream(std::shared_ptr<H2Connection> connection, std::shared_ptr<State> state)
    : connection_(std::move(connection)), state_(std::move(state)) {}

// What was never read goes back to the connection's window, or the other streams would starve.
void H2Stream::abandon() noexcept {
  if (!state_) return;
  const std::size_t unread = state_->in.size() - state_->in_offset;
  state_->in.clear();
  state_->in_offset = 0;
  if (unread > 0) connection_->session_.consumed(state_->id, unread);
  reset(kCancel);
  connection_->kick();
}

H2Stream& H2Stream::operator=(H2Stream&& other) noexcept {
  if (this != &other) {
    abandon();
    connection_ = std::move(other.connection_);
    state_ = std::move(other.state_);
  }
  return *this;
}

H2Stream::~H2Stream() {
  abandon();
}

StreamId H2Stream::id() const {
  return state_->id;
}
const Headers& H2Stream::headers() const {
  return state_->headers;
}

Awaitable<Result<void>> H2Stream::response() {
  const auto state = state_;
  while (!state->has_headers) {
    if (state->closed) co_return base::fail(gone("wait for a response"));
    co_await state->readable.wait();
  }
  co_return Result<void>{};
}

Result<void> H2Stream::respond(const Headers& headers, EndStream end) {
  CR_TRY(connection_->session_.submit_response(state_->id, headers, end));
  connection_->kick();
  return {};
}

Awaitable<Result<std::size_t>> H2Stream::read(std::span<std::byte> into) {
  const auto state = state_;
  const auto connection = connection_;
  while (state->in_offset == state->in.size()) {
    if (state->ended) co_return std::size_t{0};
    if (state->closed) co_return base::fail(gone("read from a stream"));
    co_await state->readable.wait();
  }
  const std::size_t size = std::min(into.size(), state->in.size() - state->in_offset);
  std::memcpy(into.data(), state->in.data() + state->in_offset, size);
  state->in_offset += size;
  if (state->in_offset == state->in.size()) {
    state->in.clear();
    state->in_offset = 0;
  }
  connection->session_.consumed(state->id, size);
  connection->kick();
  co_return size;
}

Awaitable<Result<std::vector<std::byte>>> H2Stream::take() {
  const auto state = state_;
  while (state->in_offset == state->in.size()) {
    if (state->ended) co_return std::vector<std::byte>();
    if (state->closed) co_return base::fail(gone("read from a stream"));
    co_await state->readable.wait();
  }
  std::vector<std::byte> taken = std::exchange(state->in, {});
  taken.erase(taken.begin(), taken.begin() + static_cast<std::ptrdiff_t>(std::exchange(state->in_offset, 0)));
  co_return taken;
}

void H2Stream::give_back(std::size_t size) {
  connection_->session_.consumed(state_->id, size);
  connection_->kick();
}

Awaitable<Result<std::size_t>> H2Stream::room() {
  const auto state = state_;
  const auto connection = connection_;
  for (;;) {
    if (state->closed || connection->closed_) co_return base::fail(gone("write to a stream"));
    const std::size_t free = connection->session_.room(state->id);
    if (free > 0) co_return free;
    co_await state->writable.wait();
  }
}

std::size_t H2Stream::write_some(std::span<const std::byte> bytes) {
  const std::size_t taken = connection_->session_.write(state_->id, bytes);
  connection_->kick();
  return taken;
}

Awaitable<Result<void>> H2Stream::write_all(std::span<const std::byte> bytes) {
  const auto state = state_;
  const auto connection = connection_;
  while (!bytes.empty()) {
    if (state->closed || connection->closed_) co_return base::fail(gone("write to a stream"));
    bytes = bytes.subspan(write_some(bytes));
    if (!bytes.empty()) co_await state->writable.wait();
  }
  co_return Result<void>{};
}

Awaitable<void> H2Stream::wait_closed() {
  const auto state = state_;
  while (!state->closed)
    co_await state->ended_for_good.wait();
}

void H2Stream::finish() {
  connection_->session_.finish(state_->id);
  connection_->kick();
}

void H2Stream::reset(std::uint32_t error_code) {
  if (state_->closed) return;
  connection_->session_.reset(state_->id, error_code);
  connection_->kick();
}

std::shared_ptr<H2Connection> H2Connection::create(StreamSocket socket, Role role, const H2Limits& limits) {
  return std::shared_ptr<H2Connection>(new H2Connection(std::move(socket), role, limits));
}

H2Connection::H2Connection(StreamSocket socket, Role role, const H2Limits& limits)
    : socket_(std::move(socket)),
      role_(role),
      session_(role, limits, *this),
      wake_writer_(socket_.get_executor()),
      incoming_(socket_.get_executor()) {}

Awaitable<Result<void>> H2Connection::run() {
  using namespace asio::experimental::awaitable_operators;
  const auto self = shared_from_this();
  auto first = co_await (read_loop() || write_loop());
  end_all_streams();
  base::ErrorCode ignored;
  socket_.close(ignored);
  co_return first.index() == 0 ? std::move(std::get<0>(first)) : std::move(std::get<1>(first));
}

Awaitable<Result<void>> H2Connection::read_loop() {
  std::vector<std::byte> buffer(kReadBuffer);
  for (;;) {
    auto [ec, n] = co_await socket_.async_read_some(asio::buffer(buffer), kTuple);
    if (ec == asio::error::eof || ec == asio::error::connection_reset) co_return Result<void>{};
    if (ec) co_return base::fail(base::asio_error("read from", "the guest", ec));
    if (closed_) co_return Result<void>{};
    if (auto received = session_.receive(std::span(buffer).first(n)); !received) co_return received;
    kick();
    if (session_.is_finished()) co_return Result<void>{};
  }
}

Awaitable<Result<void>> H2Connection::write_loop() {
  std::vector<std::byte> buffer;
  buffer.reserve(2 * kWriteBuffer);
  for (;;) {
    buffer.clear();
    if (auto pulled = session_.pull(buffer, kWriteBuffer); !pulled) co_return pulled;
    if (buffer.empty()) {
      if (session_.is_finished()) co_return Result<void>{};
      co_await wake_writer_.wait();
      continue;
    }
    auto [ec, n] = co_await asio::async_write(socket_, asio::buffer(buffer), kTuple);
    if (ec) co_return base::fail(base::asio_error("write to", "the guest", ec));
  }
}

void H2Connection::end_all_streams() {
  closed_ = true;
  for (const auto& [id, state] : streams_) {
    state->closed = true;
    state->wake_all();
  }
  streams_.clear();
  incoming_.notify_all();
}

Result<H2Stream> H2Connection::request(const Headers& headers, EndStream end) {
  if (closed_) return base::fail(gone("send a request"));
  CR_ASSIGN(const StreamId id, session_.submit_request(headers, end));
  kick();
  return H2Stream(shared_from_this(), add(id));
}

Awaitable<Result<H2Stream>> H2Connection::accept() {
  const auto self = shared_from_this();
  while (accepted_.empty()) {
    if (closed_) co_return base::fail(gone("accept a request"));
    co_await incoming_.wait();
  }
  auto state = std::move(accepted_.front());
  accepted_.pop_front();
  co_return H2Stream(self, std::move(state));
}

void H2Connection::close() {
  end_all_streams();
  base::ErrorCode ignored;
  socket_.close(ignored);
}

std::shared_ptr<H2Stream::State> H2Connection::add(StreamId id) {
  auto state = std::make_shared<H2Stream::State>(socket_.get_executor(), id);
  streams_[id] = state;
  return state;
}

void H2Connection::on_headers(StreamId stream, Headers headers, EndStream end) {
  const bool is_request = role_ == Role::server && streams_.find(stream) == streams_.end();
  const auto found = streams_.find(stream);
  if (closed_ || (!is_request && found == streams_.end())) return;
  const auto state = is_request ? add(stream) : found->second;
  state->headers = std::move(headers);
  state->has_headers = true;
  state->ended = end == EndStream::yes;
  state->readable.notify_all();
  if (is_request) {
    accepted_.push_back(state);
    incoming_.notify_all();
  }
}

void H2Connection::on_data(StreamId stream, std::span<const std::byte> bytes) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) {
    session_.consumed(stream, bytes.size());
    return;
  }
  auto& in = found->second->in;
  in.insert(in.end(), bytes.begin(), bytes.end());
  found->second->readable.notify_all();
}

void H2Connection::on_end(StreamId stream) {
  if (const auto found = streams_.find(stream); found != streams_.end()) {
    found->second->ended = true;
    found->second->readable.notify_all();
  }
}

void H2Connection::on_closed(StreamId stream, std::uint32_t error_code) {
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  const auto state = found->second;
  state->closed = true;
  state->error_code = error_code;
  state->wake_all();
  streams_.erase(found);
  // A request that was reset before anybody took it is nobody's: what waits here is never more than what may be open.
  std::erase(accepted_, state);
}

void H2Connection::on_writable(StreamId stream) {
  if (const auto found = streams_.find(stream); found != streams_.end()) found->second->writable.notify_all();
}

}  // namespace cleanroom::channel
