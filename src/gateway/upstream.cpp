#include "src/gateway/upstream.h"

#include "src/base/async/event.h"
#include "src/base/os/defer.h"
#include "src/base/os/io.h"
#include "src/base/os/secret.h"
#include "src/egress/judged_dial.h"
#include "src/egress/limits.h"
#include "src/gateway/limits.h"

#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/write.hpp>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <cerrno>

namespace cleanroom::gateway {

namespace asio = base::asio;
using base::Awaitable;
using base::Code;
using base::kTuple;
using base::Result;

namespace {

constexpr std::string_view kColon = ": ";
constexpr std::string_view kCrlf = "\r\n";

// SSL_set_tlsext_host_name() without the macro's C cast. OpenSSL copies the text.
void send_server_name(SSL* tls, std::string name) {
  SSL_ctrl(tls, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
}

Awaitable<Result<egress::Dialed>> dial(UpstreamContext& context, Origin origin) {
  const auto named = context.rules.judge(origin.host, origin.port);
  if (!named.allowed)
    co_return base::fail(Code::policy_denied, std::string(to_string(named.reason)),
                         fmt::format("the gateway may not reach {}", origin.text()));
  if (named.by_wildcard && !context.wildcard_names.admit(origin.host.text(), base::SteadyClock::now()))
    co_return base::fail(Code::policy_denied, "connection_limit", "too many new names below a wildcard");
  const auto start = context.new_connections.reserve(base::SteadyClock::now());
  if (start > base::SteadyClock::now()) co_await base::sleep_until(start);
  egress::DialTarget target{.host = origin.host,
                            .port = origin.port,
                            .resolve_limit = egress::kResolveLimit,
                            .connect_limit = egress::kConnectLimit};
  auto dialing = egress::judged_dial(context.rules, context.resolver, context.dialer, context.own_addresses(), target);
  auto dialed = co_await std::move(dialing);
  if (dialed) co_return std::move(*dialed);
  const auto& refused = dialed.error();
  co_return base::fail(refused.reason == model::Reason::ip_denied ? Code::policy_denied : Code::unavailable,
                       std::string(to_string(refused.reason)),
                       fmt::format("cannot reach {}: {}", origin.text(), refused.detail));
}

}  // namespace

UpstreamConnection::UpstreamConnection(Stream stream, Origin origin, model::IpAddress address)
    : stream_(std::move(stream)), origin_(std::move(origin)), address_(address), reader_(MessageKind::response) {}

UpstreamConnection::~UpstreamConnection() {
  base::ErrorCode ignored;
  stream_.next_layer().close(ignored);
}

Awaitable<Result<std::unique_ptr<UpstreamConnection>>> UpstreamConnection::open(UpstreamContext& context,
                                                                                Origin origin) {
  CR_CO_ASSIGN(auto dialed, co_await dial(context, origin));
  base::ErrorCode ignored;
  dialed.socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  Stream stream(std::move(dialed.socket), context.tls);
  if (!origin.host.is_ip()) send_server_name(stream.native_handle(), origin.host.text());
  stream.set_verify_callback(asio::ssl::host_name_verification(origin.host.text()));
  auto handshake = [](Stream& tls) -> Awaitable<Result<void>> {
    auto [ec] = co_await tls.async_handshake(asio::ssl::stream_base::client, kTuple);
    if (ec == asio::error::operation_aborted) co_return base::fail(Code::cancelled, "cancelled");
    if (ec) co_return base::fail(Code::unavailable, "upstream_untrusted", ec.message());
    co_return Result<void>{};
  };
  auto shaking = handshake(stream);
  auto done = co_await base::with_deadline(base::deadline_in(kTlsHandshakeLimit), "agree on TLS", std::move(shaking));
  if (!done) {
    auto error = std::move(done).error();
    if (error.reason.empty()) error.reason = "connect_failed";
    co_return base::fail(std::move(error).with_context(fmt::format("TLS with {}", origin.text())));
  }
  co_return std::unique_ptr<UpstreamConnection>(
      new UpstreamConnection(std::move(stream), std::move(origin), dialed.address));
}

base::Error UpstreamConnection::broken(std::string_view attempt, const base::ErrorCode& ec) const {
  return {Code::unavailable, "upstream_invalid",
          fmt::format("cannot {} {}: {}", attempt, origin_.text(), ec.message())};
}

Awaitable<Result<void>> UpstreamConnection::write(std::span<const std::byte> bytes) {
  auto work = [](UpstreamConnection& self, std::span<const std::byte> data) -> Awaitable<Result<void>> {
    auto [ec, n] = co_await asio::async_write(self.stream_, asio::buffer(data.data(), data.size()), kTuple);
    if (ec) co_return base::fail(self.broken("send to", ec));
    co_return Result<void>{};
  };
  auto writing = work(*this, bytes);
  auto done =
      co_await base::with_deadline(base::deadline_in(kUpstreamIdleLimit), "send to upstream", std::move(writing));
  if (!done) spoiled_ = true;
  co_return done;
}

Awaitable<Result<void>> UpstreamConnection::send(const UpstreamRequest& request) {
  if (used_) reader_.next();
  used_ = true;
  chunked_ = request.chunked;
  auto head = fmt::format("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.target, origin_.text());
  for (const auto& field : request.fields)
    head += fmt::format("{}: {}\r\n", field.name, field.value);
  if (request.content_length) head += fmt::format("content-length: {}\r\n", *request.content_length);
  if (request.chunked) head += "transfer-encoding: chunked\r\n";
  // One buffer from the start, so that growing leaves no copy of a secret behind.
  auto size = head.size() + kCrlf.size();
  for (const auto& [name, value] : request.secret_fields)
    size += name.size() + kColon.size() + value.size() + kCrlf.size();
  std::string whole;
  whole.reserve(size);
  whole += head;
  for (const auto& [name, value] : request.secret_fields)
    whole.append(name).append(kColon).append(value).append(kCrlf);
  whole += kCrlf;
  const base::Defer clean([&whole] { base::wipe(whole); });  // also when the guest's leaving ends it here
  co_return co_await write(base::as_bytes(whole));
}

Awaitable<Result<void>> UpstreamConnection::send_body(std::span<const std::byte> bytes) {
  if (bytes.empty()) co_return Result<void>{};
  if (!chunked_) co_return co_await write(bytes);
  auto frame = fmt::format("{:x}\r\n", bytes.size());
  frame += base::as_text(bytes);
  frame += "\r\n";
  co_return co_await write(base::as_bytes(frame));
}

Awaitable<Result<void>> UpstreamConnection::finish_body() {
  constexpr std::string_view kLastChunk = "0\r\n\r\n";
  if (!chunked_) co_return Result<void>{};
  co_return co_await write(base::as_bytes(kLastChunk));
}

// False at the end of the stream.
Awaitable<Result<bool>> UpstreamConnection::read_more(base::Deadline deadline) {
  auto work = [](UpstreamConnection& self) -> Awaitable<Result<bool>> {
    const auto room = self.reader_.prepare();
    auto [ec, n] = co_await self.stream_.async_read_some(asio::buffer(room.data(), room.size()), kTuple);
    self.reader_.commit(n);
    // Without close_notify an attacker on the wire could have cut it: no orderly end.
    if (ec == asio::error::eof) co_return false;
    if (ec) co_return base::fail(self.broken("read from", ec));
    co_return true;
  };
  auto reading = work(*this);
  auto more = co_await base::with_deadline(deadline, "read from upstream", std::move(reading));
  if (!more || !*more) spoiled_ = true;
  co_return more;
}

Awaitable<Result<MessageHead>> UpstreamConnection::read_head() {
  const auto deadline = base::deadline_in(kUpstreamHeadLimit);
  for (int interim = 0; interim < kMaxInterimAnswers;) {
    auto whole = reader_.read_head();
    if (!whole) {
      spoiled_ = true;
      co_return base::fail(std::move(whole).error());
    }
    if (*whole) {
      const auto& head = reader_.head();
      if (head.status == 101) break;
      if (head.status >= 200) co_return head;
      ++interim;
      reader_.next();
      continue;
    }
    CR_CO_ASSIGN(const bool more, co_await read_more(deadline));
    if (!more) co_return base::fail(Code::unavailable, "upstream_invalid", "upstream closed without an answer");
  }
  spoiled_ = true;
  co_return base::fail(Code::unavailable, "upstream_invalid", "upstream did not answer the request");
}

Awaitable<Result<std::size_t>> UpstreamConnection::read_body(std::span<std::byte> into) {
  for (;;) {
    auto n = reader_.read_body(into);
    if (!n) {
      spoiled_ = true;
      co_return base::fail(std::move(n).error());
    }
    if (*n > 0 || reader_.is_done()) co_return *n;
    CR_CO_ASSIGN(const bool more, co_await read_more(base::deadline_in(kUpstreamIdleLimit)));
    if (!more) CR_CO_TRY(reader_.end_of_input());
  }
}

bool UpstreamConnection::is_reusable() {
  if (spoiled_ || !reader_.is_done() || reader_.has_input() || !reader_.head().keep_alive) return false;
  // Bytes that nobody asked for may wait in the kernel, too, or its end: the next answer must not be read from them.
  char byte = 0;
  const auto waiting = ::recv(stream_.next_layer().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return waiting < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && SSL_pending(stream_.native_handle()) == 0;
}

Awaitable<Result<std::string>> read_whole_body(UpstreamConnection& connection, std::size_t limit) {
  std::string body;
  std::vector<std::byte> buffer(kIoBuffer);
  for (;;) {
    CR_CO_ASSIGN(const auto n, co_await connection.read_body(buffer));
    if (n == 0) co_return body;
    if (body.size() + n > limit)
      co_return base::fail(Code::unavailable, "gateway_limit", "upstream's answer is larger than the limit");
    body += base::as_text(std::span<const std::byte>(buffer).first(n));
  }
}

}  // namespace cleanroom::gateway
