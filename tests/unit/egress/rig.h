#pragma once
// An EgressServer with a guest on the other end of a socket pair, a resolver that logs its queries, and a dialer that
// logs what it is asked to dial and connects to a local upstream instead.
#include "src/base/os/defer.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/egress/egress_server.h"
#include "tests/unit/egress/keep_audit.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/write.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <deque>
#include <functional>
#include <map>
#include <sstream>

namespace cleanroom::egress::testing {

using base::Awaitable;
using base::kTuple;
using base::Result;
namespace asio = base::asio;
using asio::ip::tcp;

inline model::IpAddress ip(std::string_view text) {
  return *model::IpAddress::parse(text);
}
inline constexpr std::string_view kPublic = "93.184.216.34";

class FakeResolver : public Resolver {
 public:
  // Each query takes the next answer; the last one stays.
  std::map<std::string, std::deque<std::vector<model::IpAddress>>> answers;
  std::vector<std::string> queries;

  Awaitable<Result<std::vector<model::IpAddress>>> resolve(model::HostName name, base::Deadline) override {
    queries.push_back(name.text());
    const auto found = answers.find(name.text());
    if (found == answers.end()) co_return base::fail(base::Code::not_found, "resolve_failed", "no such name");
    auto answer = found->second.front();
    if (found->second.size() > 1) found->second.pop_front();
    co_return answer;
  }
};

class FakeDialer : public Dialer {
 public:
  std::uint16_t upstream_port = 0;  // 0: refused
  bool black_hole = false;          // never answers
  std::vector<std::string> dialed;
  int given_up = 0;  // attempts in the black hole that ended

  Awaitable<Result<TcpSocket>> connect(model::IpAddress address, std::uint16_t port, base::Deadline deadline) override {
    dialed.push_back(model::HostName::of_address(address).with_port(port));
    if (black_hole) {
      const base::Defer count([this] { ++given_up; });
      asio::steady_timer never(co_await asio::this_coro::executor, deadline);
      co_await never.async_wait(kTuple);
      co_return base::fail(base::Code::timeout, "connect_failed", "timed out");
    }
    if (upstream_port == 0) co_return base::fail(base::Code::unavailable, "refused");
    co_return co_await real_.connect(ip("127.0.0.1"), upstream_port, deadline);
  }

 private:
  SystemDialer real_;
};

// A TCP server on a free port; `serve` runs for each connection, `received` has what was read by read_all().
class Upstream {
 public:
  explicit Upstream(asio::io_context& context) : acceptor_(context, {asio::ip::address_v4::loopback(), 0}) {}
  std::function<Awaitable<void>(tcp::socket, Upstream&)> serve;
  std::string received;
  int connections = 0;
  int ended = 0;  // connections whose end (or reset) was seen
  bool was_reset = false;

  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  void start() { asio::co_spawn(acceptor_.get_executor(), loop(*this), asio::detached); }
  void stop() {
    base::ErrorCode ignored;
    acceptor_.close(ignored);
  }
  // Reads into `received` to the end.
  static Awaitable<void> read_all(tcp::socket& socket, Upstream& self) {
    std::vector<char> buffer(64 * 1024);
    for (;;) {
      auto [ec, n] = co_await socket.async_read_some(asio::buffer(buffer), kTuple);
      self.received.append(buffer.data(), n);
      if (!ec) continue;
      self.was_reset = ec != asio::error::eof;
      ++self.ended;
      co_return;
    }
  }

 private:
  static Awaitable<void> loop(Upstream& self) {
    for (;;) {
      auto [ec, socket] = co_await self.acceptor_.async_accept(kTuple);
      if (ec) co_return;
      ++self.connections;
      asio::co_spawn(self.acceptor_.get_executor(), one(std::move(socket), self), asio::detached);
    }
  }
  static Awaitable<void> one(tcp::socket socket, Upstream& self) {
    if (self.serve)
      co_await self.serve(std::move(socket), self);
    else
      co_await read_all(socket, self);
  }
  tcp::acceptor acceptor_;
};

struct Answer {
  std::string status;
  std::string reason;
  std::optional<channel::H2Stream> stream;
};

struct Rig {
  asio::io_context context;
  base::TempDir directory = *base::TempDir::create("/tmp", "egress-test-");
  FakeResolver resolver;
  FakeDialer dialer;
  Upstream upstream{context};
  std::unique_ptr<AuditLog> audit = *AuditLog::open(directory.path() / "audit.jsonl", "run-1");
  std::vector<Denial> denials;
  std::unique_ptr<EgressServer> server;
  std::shared_ptr<channel::H2Connection> guest;
  bool served = false;
  bool finished = false;
  std::string failure;

  explicit Rig(const policy::NetworkRules& rules, EgressOptions options = {}) {
    resolver.answers["allowed.test"] = {{ip(kPublic)}};
    upstream.start();
    dialer.upstream_port = upstream.port();
    server = std::make_unique<EgressServer>(
        rules, resolver, dialer, *audit, [this](const Denial& denial) { denials.push_back(denial); }, options);
    channel::StreamSocket host_end(context);
    channel::StreamSocket guest_end(context);
    asio::local::connect_pair(host_end, guest_end);
    guest = channel::H2Connection::create(std::move(guest_end), channel::Role::client, options.stream_limits);
    asio::co_spawn(context, guest->run(), asio::detached);
    asio::co_spawn(context, server->serve(std::move(host_end)), [this](const std::exception_ptr&, const Result<void>&) {
      served = true;
      upstream.stop();
    });
  }

  ~Rig() { keep_audit(directory.path() / "audit.jsonl"); }

  // Runs the guest's part, then ends the network stream and waits for the server.
  void run(Awaitable<void> guest_part) {
    asio::co_spawn(context, std::move(guest_part), [this](const std::exception_ptr& error) {
      finished = error == nullptr;
      guest->close();
    });
    context.run_for(std::chrono::seconds(60));
    CHECK(finished);
    CHECK(served);
    CHECK(server->summary().open_connections == 0);
  }

  std::vector<nlohmann::json> audit_lines() const {
    std::vector<nlohmann::json> lines;
    std::istringstream text(*base::read_file(directory.path() / "audit.jsonl", 64 << 20));
    for (std::string line; std::getline(text, line);)
      lines.push_back(nlohmann::json::parse(line));
    return lines;
  }
  // "connect deny host_not_allowed", one a line; close events without counts: "close reset".
  std::vector<std::string> audit_summary() const {
    std::vector<std::string> out;
    for (const auto& line : audit_lines()) {
      const auto event = line.at("event").get<std::string>();
      if (event == "close")
        out.push_back("close " + line.at("detail").get<std::string>());
      else
        out.push_back(event + " " + line.at("action").get<std::string>() + " " + line.at("reason").get<std::string>());
    }
    return out;
  }
};

inline Awaitable<Answer> connect(Rig& rig, std::string authority) {
  auto stream =
      rig.guest->request({{":method", "CONNECT"}, {":authority", std::move(authority)}}, channel::EndStream::no);
  if (!stream) co_return Answer{"no stream", "", std::nullopt};
  if (!co_await stream->response()) co_return Answer{"reset", "", std::nullopt};
  const auto* status = channel::find_header(stream->headers(), ":status");
  const auto* reason = channel::find_header(stream->headers(), "cleanroom-reason");
  co_return Answer{*status, reason != nullptr ? *reason : "", std::move(*stream)};
}

struct Received {
  std::string text;
  bool ended = false;  // false: reset
};
inline Awaitable<Received> read_to_end(channel::H2Stream& stream) {
  Received received;
  std::vector<std::byte> buffer(64 * 1024);
  for (;;) {
    const auto n = co_await stream.read(buffer);
    if (!n) co_return received;
    if (*n == 0) break;
    received.text.append(base::as_text(std::span<const std::byte>(buffer).first(*n)));
  }
  received.ended = true;
  co_return received;
}

// Lets everything else run until `condition` holds, or some seconds have passed.
inline Awaitable<bool> eventually(std::function<bool()> condition) {
  const auto deadline = base::deadline_in(std::chrono::seconds(20));
  while (!condition()) {
    if (base::SteadyClock::now() > deadline) co_return false;
    asio::steady_timer pause(co_await asio::this_coro::executor, std::chrono::milliseconds(1));
    co_await pause.async_wait(kTuple);
  }
  co_return true;
}

inline policy::NetworkRuleSpec rule(std::string host, std::vector<std::uint16_t> ports = {}) {
  return {.host = host, .ports = std::move(ports), .reason = "", .key_path = "rule " + host};
}
inline policy::NetworkRules rules(std::vector<policy::NetworkRuleSpec> allow,
                                  std::vector<policy::NetworkRuleSpec> deny = {},
                                  policy::EchMode ech = policy::EchMode::allow) {
  auto built = policy::NetworkRules::build(std::move(allow), std::move(deny), ech);
  REQUIRE(built.has_value());
  return *built;
}

}  // namespace cleanroom::egress::testing
