#include "src/egress/resolver.h"

#include "tests/unit/egress/hello_builder.h"
#include "tests/unit/egress/rig.h"

#include <boost/asio/ip/udp.hpp>

using namespace cleanroom;
using namespace std::chrono_literals;
using namespace cleanroom::egress;
using namespace cleanroom::egress::testing;
using asio::ip::udp;

namespace {

// A DNS server that logs what is asked and answers A queries with `address` (RFC 1035 section 4).
struct StubDns {
  explicit StubDns(asio::io_context& context) : socket(context, {asio::ip::address_v4::loopback(), 0}) {
    asio::co_spawn(context, serve(*this), asio::detached);
  }
  udp::socket socket;
  std::vector<std::string> queries;  // "1 name": type and name
  std::array<std::uint8_t, 4> address{93, 184, 216, 34};
  bool silent = false;

  static Awaitable<void> serve(StubDns& self) {
    std::array<char, 512> buffer{};
    udp::endpoint peer;
    for (;;) {
      auto [ec, n] = co_await self.socket.async_receive_from(asio::buffer(buffer), peer, kTuple);
      if (ec) co_return;
      std::string name;
      std::size_t at = 12;
      while (buffer.at(at) != 0) {
        const auto size = static_cast<std::size_t>(buffer.at(at));
        name += std::string(&buffer.at(at + 1), size) + ".";
        at += size + 1;
      }
      const int type = buffer.at(at + 2);
      self.queries.push_back(fmt::format("{} {}", type, name));
      if (self.silent) continue;
      std::string answer(buffer.data(), at + 5);  // header and question
      const bool has_answer = type == 1 && name == "allowed.test.";
      const bool unknown = name != "allowed.test.";
      answer[2] = static_cast<char>(0x81);
      answer[3] = static_cast<char>(unknown ? 0x83 : 0x80);
      answer.replace(6, 6, number(2, has_answer ? 1 : 0) + number(4, 0));
      if (has_answer) {
        answer += number(2, 0xc00c) + number(2, 1) + number(2, 1) + number(4, 0) + number(2, 4);
        answer.append(reinterpret_cast<const char*>(self.address.data()), self.address.size());
      }
      co_await self.socket.async_send_to(asio::buffer(answer), peer, kTuple);
    }
  }
};

Result<std::vector<model::IpAddress>> resolve(std::string name, StubDns& dns, asio::io_context& context,
                                              std::chrono::milliseconds limit) {
  SystemResolver resolver(
      {.threads = 1, .server = SystemResolver::Options::Server{ip("127.0.0.1"), dns.socket.local_endpoint().port()}});
  Result<std::vector<model::IpAddress>> outcome;
  asio::co_spawn(
      context,
      [](SystemResolver& r, std::string text,
         std::chrono::milliseconds span) -> Awaitable<Result<std::vector<model::IpAddress>>> {
        co_return co_await r.resolve(*model::HostName::parse(text), base::deadline_in(span));
      }(resolver, name, limit),
      [&](const std::exception_ptr&, Result<std::vector<model::IpAddress>> result) {
        outcome = std::move(result);
        context.stop();
      });
  context.run_for(30s);
  context.restart();
  return outcome;
}

}  // namespace

TEST_SUITE("egress/resolver") {
  TEST_CASE("EGR-08 one look-up asks each family once, for that name and no search domain") {
    asio::io_context context;
    StubDns dns(context);
    const auto found = resolve("allowed.test", dns, context, 10s);
    REQUIRE(found.has_value());
    CHECK(*found == std::vector{ip(kPublic)});
    std::sort(dns.queries.begin(), dns.queries.end());
    CHECK(dns.queries == std::vector<std::string>{"1 allowed.test.", "28 allowed.test."});
    dns.queries.clear();
    const auto unknown = resolve("unknown.test", dns, context, 10s);
    REQUIRE_FALSE(unknown.has_value());
    CHECK(unknown.error().code == base::Code::not_found);
    for (const auto& query : dns.queries)
      CHECK(query.ends_with(" unknown.test."));
  }

  TEST_CASE("a resolver that does not answer is left at the deadline") {
    asio::io_context context;
    StubDns dns(context);
    dns.silent = true;
    const auto result = resolve("allowed.test", dns, context, 50ms);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == base::Code::timeout);
  }
}

TEST_SUITE("egress/dialer") {
  TEST_CASE("families alternate, starting with the first") {
    const auto order = alternate_families({ip("2600::1"), ip("2600::2"), ip("1.1.1.1"), ip("2600::3"), ip("1.1.1.2")});
    CHECK(order == std::vector{ip("2600::1"), ip("1.1.1.1"), ip("2600::2"), ip("1.1.1.2"), ip("2600::3")});
    CHECK(alternate_families({ip("1.1.1.1")}) == std::vector{ip("1.1.1.1")});
  }

  TEST_CASE("an address that hangs does not keep the next from being tried, and is given up") {
    struct Dial : Dialer {
      FakeDialer hangs;
      FakeDialer works;
      Awaitable<Result<TcpSocket>> connect(model::IpAddress address, std::uint16_t port,
                                           base::Deadline deadline) override {
        return (address.is_v4() ? works : hangs).connect(address, port, deadline);
      }
    };
    asio::io_context context;
    Upstream upstream(context);
    upstream.start();
    Dial dial;
    dial.hangs.black_hole = true;
    dial.works.upstream_port = upstream.port();
    std::string used;
    asio::co_spawn(
        context,
        [](Dial& d, std::string& address) -> Awaitable<void> {
          const std::vector addresses{ip("2600::1"), ip(kPublic)};
          const auto dialed = co_await dial_first(d, addresses, 443, base::deadline_in(20s));
          if (dialed) address = dialed->address.to_string();
          CHECK(co_await eventually([&d] { return d.hangs.given_up == 1; }));
        }(dial, used),
        [&](const std::exception_ptr&) { upstream.stop(); });
    context.run_for(30s);
    CHECK(used == kPublic);
  }
}
