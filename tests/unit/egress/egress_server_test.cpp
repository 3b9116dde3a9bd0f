#include "src/egress/egress_server.h"

#include "tests/unit/capture_binding.h"
#include "tests/unit/egress/hello_builder.h"
#include "tests/unit/egress/rig.h"

#include <filesystem>

using namespace cleanroom;
using namespace cleanroom::egress;
using namespace cleanroom::egress::testing;
using Lines = std::vector<std::string>;

namespace {

std::string good_hello() {
  return records(hello({sni("allowed.test"), extension(43, "\x02\x03\x04")}));
}

// Opens a tunnel, sends `text`, and returns what came back.
Awaitable<Received> exchange(Rig& rig, std::string authority, std::string text, bool half_close = false) {
  auto answer = co_await connect(rig, std::move(authority));
  CHECK(answer.status == "200");
  if (answer.status != "200") co_return Received{};
  CHECK((co_await answer.stream->write_all(base::as_bytes(text))).has_value());
  if (half_close) answer.stream->finish();
  co_return co_await read_to_end(*answer.stream);
}

std::size_t open_fds() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

}  // namespace

TEST_SUITE("egress/server") {
  TEST_CASE("EGR-02 EGR-03 a denied name is neither resolved nor dialled") {
    Rig rig(rules({rule("allowed.test"), rule("10.0.0.0/8")}, {rule("bad.test")}));
    rig.run([](Rig& r) -> Awaitable<void> {
      auto answer = co_await connect(r, "secret.evil.test:443");
      CHECK(answer.status == "403");
      CHECK(answer.reason == "host_not_allowed");
      CHECK((co_await connect(r, "bad.test:443")).reason == "host_denied");
      CHECK((co_await connect(r, "allowed.test:22")).reason == "port_not_allowed");
      CHECK((co_await connect(r, "127.1:443")).reason == "ip_denied");
      CHECK((co_await connect(r, "[::1]:443")).reason == "ip_denied");
      CHECK((co_await connect(r, "8.8.8.8:443")).reason == "host_not_allowed");
      CHECK((co_await connect(r, "a..b:443")).reason == "invalid_host");
      CHECK((co_await connect(r, "allowed.test:65979")).reason == "invalid_host");
      CHECK((co_await connect(r, "gateway.cleanroom.internal:80")).reason == "unsupported");
    }(rig));
    CHECK(rig.resolver.queries.empty());
    CHECK(rig.dialer.dialed.empty());
    CHECK(rig.denials.size() == 9);
    CHECK(rig.denials[0].host == "secret.evil.test");
    CHECK(rig.denials[0].port == 443);
    CHECK(rig.denials[1].rule == "rule bad.test");
    CHECK(rig.audit_lines().size() == 9);
    CHECK(rig.server->summary().denied_total == 9);
    CHECK(rig.server->summary().allowed_total == 0);
  }

  TEST_CASE("EGR-35 each verdict is one audit line with its facts") {
    Rig rig(rules({rule("Allowed.test"), rule("raw.test", {2222})}));
    rig.resolver.answers["raw.test"] = {{ip(kPublic)}};
    rig.run([](Rig& r) -> Awaitable<void> {
      CHECK((co_await exchange(r, "ALLOWED.test.:443", good_hello(), true)).ended);
      CHECK((co_await exchange(r, "raw.test:2222", "ping", true)).ended);
      co_await connect(r, "evil.test:443");
      co_await connect(r, "evil.test:443");
    }(rig));
    CHECK(rig.audit_summary() == Lines{"connect allow allowed", "tls allow allowed", "close closed",
                                       "connect allow allowed", "close closed", "connect deny host_not_allowed",
                                       "connect deny host_not_allowed"});
    const auto lines = rig.audit_lines();
    CHECK(lines[0]["host"] == "allowed.test");
    CHECK(lines[0]["port"] == 443);
    CHECK(lines[0]["address"] == kPublic);
    CHECK(lines[0]["rule"] == "rule Allowed.test");
    CHECK(lines[0]["run_id"] == "run-1");
    CHECK(lines[1]["sni"] == "allowed.test");
    CHECK(lines[1]["ech"] == false);
    CHECK(lines[1]["connection"] == lines[0]["connection"]);
    CHECK(lines[2]["bytes_up"] == good_hello().size());
    CHECK(lines[4]["bytes_up"] == 4);
    CHECK(lines[4]["bytes_down"] == 0);
    CHECK(lines[5]["host"] == "evil.test");
    CHECK(rig.denials.back().occurrence == 2);
    const auto summary = rig.server->summary();
    CHECK(summary.allowed_total == 2);
    REQUIRE(summary.allowed.size() == 2);
    CHECK(summary.allowed[0].host == "allowed.test");
    REQUIRE(summary.denied.size() == 1);
    CHECK(summary.denied[0].count == 2);
    CHECK(summary.bytes_up == good_hello().size() + 4);
    CHECK(summary.audit_lost == 0);
    CHECK(rig.audit->counters().written == 7);
  }

  TEST_CASE("EGR-07 an allowed name with a forbidden address is denied, and only judged addresses are dialled") {
    Rig rig(rules({rule("*.allowed.test")}));
    const auto own = ip("198.51.99.7");
    for (const auto* address : {"127.0.0.1", "10.1.1.1", "169.254.169.254", "168.63.129.16", "::1", "fd00:ec2::254",
                                "64:ff9b::a00:1", "2002:7f00:1::", "100.64.0.1", "0.0.0.0"})
      rig.resolver.answers[fmt::format("n{}.allowed.test", rig.resolver.answers.size())] = {{ip(address)}};
    rig.resolver.answers["mixed.allowed.test"] = {{ip("10.0.0.1"), ip("2600::1"), ip("::1"), ip(kPublic)}};
    rig.run([](Rig& r) -> Awaitable<void> {
      for (int i = 1; i <= 10; ++i) {
        auto answer = co_await connect(r, fmt::format("n{}.allowed.test:443", i));
        CHECK(answer.status == "403");
        CHECK(answer.reason == "ip_denied");
      }
      CHECK(r.dialer.dialed.empty());
      CHECK(r.resolver.queries.size() == 10);
      CHECK((co_await connect(r, "mixed.allowed.test:8443")).reason == "port_not_allowed");
      CHECK((co_await connect(r, "mixed.allowed.test:443")).status == "200");
    }(rig));
    CHECK(rig.dialer.dialed == Lines{"[2600::1]:443"});
    CHECK(rig.denials[0].detail == "loopback");
    CHECK(rig.audit_lines()[0]["address"] == "127.0.0.1");

    Rig own_rig(rules({rule("allowed.test")}), {.own_addresses = [own] { return std::vector{own}; }});
    own_rig.resolver.answers["allowed.test"] = {{own}};
    own_rig.run([](Rig& r) -> Awaitable<void> {
      CHECK((co_await connect(r, "allowed.test:443")).reason == "ip_denied");
    }(own_rig));
    CHECK(own_rig.dialer.dialed.empty());
  }

  TEST_CASE("EGR-08 a name is resolved once a connection, and what was judged is dialled") {
    Rig rig(rules({rule("allowed.test")}));
    rig.resolver.answers["allowed.test"] = {{ip(kPublic)}, {ip("127.0.0.1")}};
    rig.run([](Rig& r) -> Awaitable<void> {
      CHECK((co_await connect(r, "allowed.test:443")).status == "200");
      CHECK(r.resolver.queries.size() == 1);
      CHECK((co_await connect(r, "allowed.test:443")).reason == "ip_denied");
    }(rig));
    CHECK(rig.resolver.queries.size() == 2);
    CHECK(rig.dialer.dialed == Lines{std::string(kPublic) + ":443"});
  }

  TEST_CASE("what cannot be resolved or connected says so") {
    Rig rig(rules({rule("allowed.test"), rule("unknown.test")}));
    rig.dialer.upstream_port = 0;
    rig.run([](Rig& r) -> Awaitable<void> {
      auto unknown = co_await connect(r, "unknown.test:443");
      CHECK(unknown.status == "502");
      CHECK(unknown.reason == "resolve_failed");
      CHECK((co_await connect(r, "allowed.test:443")).reason == "connect_failed");
    }(rig));
  }

  TEST_CASE("a recorded run notes a ClientHello without SNI and what is no TLS, and refuses another's SNI") {
    struct Case {
      std::string sent;
      std::string verdict;
      std::string detail;
    };
    for (const auto& [bytes, verdict, detail] : {
             Case{good_hello(), "tls allow allowed", ""},
             Case{records(hello({})), "tls allow allowed", "no SNI"},
             Case{"SSH-2.0-client\r\n", "tls allow allowed", "no TLS"},
             Case{records(hello({sni("evil.test")})), "tls deny sni_mismatch", ""},
         }) {
      CAPTURE_BINDING(verdict);
      CAPTURE_BINDING(detail);
      Rig rig(*policy::NetworkRules::build_recording({.any_public_name = true, .hosts = {}, .cidrs = {}}));
      rig.run([](Rig& r, std::string text) -> Awaitable<void> {
        (void)co_await exchange(r, "allowed.test:443", std::move(text), true);
      }(rig, bytes));
      const bool passes = verdict == "tls allow allowed";
      CHECK(rig.upstream.received == (passes ? bytes : ""));
      const auto lines = rig.audit_lines();
      REQUIRE(lines.size() >= 2);
      CHECK(rig.audit_summary()[1] == verdict);
      CHECK(lines[1].value("detail", "") == detail);
      CHECK(lines[1].at("rule") == "record:public");
    }
  }

  TEST_CASE("EGR-19 EGR-20 another SNI, or none, and upstream gets zero bytes") {
    struct Case {
      std::string hello;
      std::string reason;
    };
    const auto ip_rule = rule(std::string(kPublic));
    for (const auto& [bytes, reason] : {
             Case{records(hello({sni("evil.test")})), "sni_mismatch"},
             Case{records(hello({sni("sub.allowed.test")})), "sni_mismatch"},
             Case{records(hello({sni("allowed.test.evil.test")})), "sni_mismatch"},
             Case{records(hello({})), "sni_missing"},
             Case{records(hello({sni("127.0.0.1")})), "tls_invalid"},
             Case{records(hello({sni("allowed.test"), sni("evil.test")})), "tls_invalid"},
         }) {
      CAPTURE_BINDING(reason);
      Rig rig(rules({rule("allowed.test")}));
      rig.run([](Rig& r, std::string text) -> Awaitable<void> {
        const auto received = co_await exchange(r, "allowed.test:443", std::move(text));
        if (received.ended) CHECK(received.text == std::string("\x15\x03\x03\x00\x02\x02\x31", 7));
      }(rig, bytes));
      CHECK(rig.upstream.received == "");
      CHECK(rig.audit_summary() == Lines{"connect allow allowed", "tls deny " + reason, "close refused"});
      REQUIRE(rig.denials.size() == 1);
      CHECK(to_string(rig.denials[0].reason) == reason);
      CHECK(rig.server->summary().allowed_total == 0);
    }
  }

  TEST_CASE("EGR-20 SNI is compared in canonical form, an address wants none, opaque takes anything") {
    auto opaque = rule("opaque.test", {443});
    opaque.tls = policy::TlsMode::opaque;
    Rig rig(rules({rule("allowed.test"), rule(std::string(kPublic)), opaque}));
    rig.resolver.answers["opaque.test"] = {{ip(kPublic)}};
    std::string expected;
    rig.run([](Rig& r, std::string& sent) -> Awaitable<void> {
      const auto upper = records(hello({sni("ALLOWED.Test.")}));
      const auto none = records(hello({}));
      CHECK((co_await exchange(r, "allowed.test:443", upper, true)).ended);
      CHECK((co_await exchange(r, std::string(kPublic) + ":443", none, true)).ended);
      CHECK((co_await exchange(r, "opaque.test:443", "SSH-2.0-x\r\n", true)).ended);
      sent = upper + none + "SSH-2.0-x\r\n";
      co_await exchange(r, std::string(kPublic) + ":443", good_hello());
    }(rig, expected));
    CHECK(rig.upstream.received == expected);
    CHECK(rig.denials.size() == 1);
    CHECK(to_string(rig.denials[0].reason) == "sni_mismatch");
  }

  TEST_CASE("EGR-21 a ClientHello in single bytes, or large in three segments, reaches upstream unchanged") {
    Rig rig(rules({rule("allowed.test")}));
    const auto large = records(hello({sni("allowed.test"), extension(51, std::string(1700, 'k'))}));
    rig.run([](Rig& r, std::string text) -> Awaitable<void> {
      auto single = co_await connect(r, "allowed.test:443");
      REQUIRE(single.stream.has_value());
      for (const char c : good_hello()) {
        CHECK((co_await single.stream->write_all(base::as_bytes(std::string_view(&c, 1)))).has_value());
        asio::steady_timer turn(r.context, base::SteadyClock::now());
        co_await turn.async_wait(kTuple);
      }
      single.stream->finish();
      CHECK((co_await read_to_end(*single.stream)).ended);
      CHECK(r.upstream.received == good_hello());
      r.upstream.received.clear();
      auto segments = co_await connect(r, "allowed.test:443");
      for (std::size_t at = 0; at < text.size(); at += 700)
        co_await segments.stream->write_all(base::as_bytes(std::string_view(text).substr(at, 700)));
      segments.stream->finish();
      CHECK((co_await read_to_end(*segments.stream)).ended);
      CHECK(r.upstream.received == text);
    }(rig, large));
  }

  TEST_CASE("EGR-22 garbage and silence on 443 end in time, with nothing sent upstream") {
    Rig rig(rules({rule("allowed.test")}), {.client_hello_limit = std::chrono::milliseconds(50)});
    rig.run([](Rig& r) -> Awaitable<void> {
      for (const auto* text : {"GET / HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01"})
        CHECK_FALSE((co_await exchange(r, "allowed.test:443", text)).ended);
      auto silent = co_await connect(r, "allowed.test:443");
      CHECK_FALSE((co_await read_to_end(*silent.stream)).ended);
    }(rig));
    CHECK(rig.upstream.received == "");
    CHECK(rig.denials.size() == 4);
    for (const auto& denial : rig.denials)
      CHECK(to_string(denial.reason) == "tls_invalid");
  }

  TEST_CASE("ECH passes and is noted, unless the policy refuses it") {
    const auto ech = records(hello({sni("allowed.test"), extension(0xfe0d, std::string(64, 'e'))}));
    Rig open(rules({rule("allowed.test")}));
    open.run([](Rig& r, std::string text) -> Awaitable<void> {
      CHECK((co_await exchange(r, "allowed.test:443", std::move(text), true)).ended);
    }(open, ech));
    CHECK(open.audit_lines()[1]["ech"] == true);
    Rig strict(rules({rule("allowed.test")}, {}, policy::EchMode::deny));
    strict.run([](Rig& r, std::string text) -> Awaitable<void> {
      co_await exchange(r, "allowed.test:443", std::move(text));
    }(strict, ech));
    CHECK(strict.audit_summary()[1] == "tls deny ech_denied");
    CHECK(strict.upstream.received == "");
  }

  TEST_CASE("EGR-24 on port 80 another Host gets a 400, and upstream nothing") {
    Rig rig(rules({rule("allowed.test")}));
    rig.run([](Rig& r) -> Awaitable<void> {
      const auto received = co_await exchange(r, "allowed.test:80", "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
      CHECK(received.ended);
      CHECK(received.text.starts_with("HTTP/1.1 400 "));
      CHECK(received.text.ends_with("\r\n\r\nrefused by the network policy (cleanroom)\n"));
      CHECK(r.upstream.received == "");
      // The second request of a connection
      const std::string first = "GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n";
      const auto later = co_await exchange(r, "allowed.test:80", first + "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
      CHECK_FALSE(later.ended);
      CHECK((r.upstream.received == first || r.upstream.received.empty()));
    }(rig));
    CHECK(rig.denials.size() == 2);
    CHECK(to_string(rig.denials[0].reason) == "http_host_mismatch");
    CHECK(rig.denials[0].detail.ends_with(": evil.test"));
  }

  TEST_CASE("EGR-26 a redirect is the guest's to follow, and is judged like anything else") {
    Rig rig(rules({rule("allowed.test")}));
    const std::string redirect = "HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nContent-Length: 0\r\n\r\n";
    rig.upstream.serve = [redirect](tcp::socket socket, Upstream& self) -> Awaitable<void> {
      std::array<char, 1000> request{};
      auto [ec, n] = co_await socket.async_read_some(asio::buffer(request), kTuple);
      self.received.append(request.data(), n);
      co_await asio::async_write(socket, asio::buffer(redirect), kTuple);
    };
    rig.run([](Rig& r, std::string expected) -> Awaitable<void> {
      const auto received = co_await exchange(r, "allowed.test:80", "GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n");
      CHECK(received.text == expected);
      CHECK((co_await connect(r, "evil.test:80")).reason == "host_not_allowed");
    }(rig, redirect));
    CHECK(rig.resolver.queries == Lines{"allowed.test"});
    CHECK(rig.dialer.dialed.size() == 1);
  }

  TEST_CASE("a websocket works on port 80 once the server has switched") {
    Rig rig(rules({rule("allowed.test")}));
    rig.upstream.serve = [](tcp::socket socket, Upstream& self) -> Awaitable<void> {
      std::string head;
      std::array<char, 1000> buffer{};
      while (head.find("\r\n\r\n") == std::string::npos) {
        auto [ec, n] = co_await socket.async_read_some(asio::buffer(buffer), kTuple);
        if (ec) co_return;
        head.append(buffer.data(), n);
      }
      const std::string answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
      co_await asio::async_write(socket, asio::buffer(answer), kTuple);
      co_await Upstream::read_all(socket, self);
    };
    rig.run([](Rig& r) -> Awaitable<void> {
      const std::string upgrade = "GET / HTTP/1.1\r\nHost: allowed.test\r\nUpgrade: websocket\r\n\r\n";
      CHECK((co_await exchange(r, "allowed.test:80", upgrade + "\x82\x05hello", true)).ended);
    }(rig));
    CHECK(rig.upstream.received == "\x82\x05hello");
  }

  TEST_CASE("EGR-29 new names below a wildcard are capped a minute, known ones pass") {
    Rig rig(rules({rule("*.allowed.test"), rule("allowed.test")}), {.new_wildcard_names_per_minute = 5});
    for (int i = 0; i < 8; ++i)
      rig.resolver.answers[fmt::format("n{}.allowed.test", i)] = {{ip(kPublic)}};
    rig.run([](Rig& r) -> Awaitable<void> {
      for (int i = 0; i < 8; ++i)
        CHECK((co_await connect(r, fmt::format("n{}.allowed.test:443", i))).status == (i < 5 ? "200" : "429"));
      CHECK((co_await connect(r, "n0.allowed.test:443")).status == "200");
      CHECK((co_await connect(r, "allowed.test:443")).status == "200");
    }(rig));
    CHECK(rig.resolver.queries.size() == 7);
    CHECK(to_string(rig.denials[0].reason) == "connection_limit");
  }

  TEST_CASE("EGR-30 connections into a black hole stay below the cap, time out and leave nothing") {
    const auto fds_before = open_fds();
    {
      Rig rig(rules({rule("allowed.test")}), {.max_connections = 20, .connect_limit = std::chrono::milliseconds(300)});
      rig.dialer.black_hole = true;
      std::map<std::string, int> reasons;
      rig.run([](Rig& r, std::map<std::string, int>& counts) -> Awaitable<void> {
        std::vector<channel::H2Stream> streams;
        for (int i = 0; i < 50; ++i) {
          auto stream =
              r.guest->request({{":method", "CONNECT"}, {":authority", "allowed.test:443"}}, channel::EndStream::no);
          if (stream) streams.push_back(std::move(*stream));
        }
        for (auto& stream : streams) {
          co_await stream.response();
          const auto* reason = channel::find_header(stream.headers(), "cleanroom-reason");
          ++counts[reason != nullptr ? *reason : "none"];
        }
      }(rig, reasons));
      CHECK(reasons == std::map<std::string, int>{{"connection_limit", 30}, {"connect_failed", 20}});
      CHECK(rig.dialer.dialed.size() == 20);
      CHECK(rig.dialer.given_up == 20);
    }
    CHECK(open_fds() == fds_before);
  }

  TEST_CASE("EGR-30 a guest that leaves ends its attempts, and idle tunnels end") {
    Rig leaving(rules({rule("allowed.test")}));
    leaving.dialer.black_hole = true;
    leaving.run([](Rig& r) -> Awaitable<void> {
      {
        auto stream =
            r.guest->request({{":method", "CONNECT"}, {":authority", "allowed.test:443"}}, channel::EndStream::no);
        REQUIRE(stream.has_value());
        CHECK(co_await eventually([&r] { return r.dialer.dialed.size() == 1; }));
      }
      CHECK(co_await eventually([&r] { return r.dialer.given_up == 1; }));
    }(leaving));
    CHECK(leaving.audit_summary() == Lines{"connect deny cancelled"});
    CHECK(leaving.denials.empty());

    Rig idle(rules({rule("allowed.test", {9999})}), {.idle_limit = std::chrono::milliseconds(50)});
    idle.run(
        [](Rig& r) -> Awaitable<void> { CHECK_FALSE((co_await exchange(r, "allowed.test:9999", "one")).ended); }(idle));
    CHECK(idle.audit_summary().back() == "close idle");
  }

  TEST_CASE("EGR-30 new connections beyond the burst are paced, not refused") {
    Rig rig(rules({rule("allowed.test")}), {.new_connections_per_second = 100, .new_connections_burst = 5});
    const auto start = base::SteadyClock::now();
    rig.run([](Rig& r) -> Awaitable<void> {
      for (int i = 0; i < 15; ++i)
        CHECK((co_await connect(r, "allowed.test:443")).status == "200");
    }(rig));
    CHECK(base::SteadyClock::now() - start >= std::chrono::milliseconds(90));
  }

  TEST_CASE("EGR-31 bytes are exact both ways and half-close is kept, from either side") {
    Rig rig(rules({rule("allowed.test", {9999})}));
    std::string big(8 << 20, '\0');
    for (std::size_t i = 0; i < big.size(); ++i)
      big[i] = static_cast<char>(i * 2654435761u >> 13);
    SUBCASE("the guest ends first") {
      rig.upstream.serve = [&big](tcp::socket socket, Upstream& self) -> Awaitable<void> {
        co_await Upstream::read_all(socket, self);
        co_await asio::async_write(socket, asio::buffer(big), kTuple);
      };
      rig.run([](Rig& r, const std::string& text) -> Awaitable<void> {
        const auto received = co_await exchange(r, "allowed.test:9999", text, true);
        CHECK(received.ended);
        CHECK(received.text == text);
      }(rig, big));
    }
    SUBCASE("upstream ends first") {
      rig.upstream.serve = [&big](tcp::socket socket, Upstream& self) -> Awaitable<void> {
        co_await asio::async_write(socket, asio::buffer(big), kTuple);
        base::ErrorCode ignored;
        socket.shutdown(asio::socket_base::shutdown_send, ignored);
        co_await Upstream::read_all(socket, self);
      };
      rig.run([](Rig& r, const std::string& text) -> Awaitable<void> {
        auto answer = co_await connect(r, "allowed.test:9999");
        const auto received = co_await read_to_end(*answer.stream);
        CHECK(received.ended);
        CHECK(received.text == text);
        CHECK((co_await answer.stream->write_all(base::as_bytes(text))).has_value());
        answer.stream->finish();
        co_await answer.stream->wait_closed();
        CHECK(co_await eventually([&r] { return r.upstream.ended == 1; }));
      }(rig, big));
    }
    CHECK(rig.upstream.received == big);
    CHECK_FALSE(rig.upstream.was_reset);
    CHECK(rig.audit_summary() == Lines{"connect allow allowed", "close closed"});
    CHECK(rig.audit_lines()[1]["bytes_up"] == big.size());
    CHECK(rig.audit_lines()[1]["bytes_down"] == big.size());
  }

  TEST_CASE("EGR-31 a reset on either side is a reset on the other") {
    Rig rig(rules({rule("allowed.test", {9999})}));
    rig.run([](Rig& r) -> Awaitable<void> {
      {
        auto answer = co_await connect(r, "allowed.test:9999");
        co_await answer.stream->write_all(base::as_bytes(std::string_view("partial")));
        CHECK(co_await eventually([&r] { return r.upstream.received == "partial"; }));
      }  // dropped: RST_STREAM
      CHECK(co_await eventually([&r] { return r.upstream.ended == 1; }));
      CHECK(r.upstream.was_reset);
      r.upstream.serve = [](tcp::socket socket, Upstream&) -> Awaitable<void> {
        co_await asio::async_write(socket, asio::buffer(std::string("partial")), kTuple);
        socket.set_option(asio::socket_base::linger(true, 0));
        socket.close();  // the destructor would end it in an orderly way
      };
      const auto received = co_await exchange(r, "allowed.test:9999", "x");
      CHECK_FALSE(received.ended);
    }(rig));
    CHECK(rig.audit_summary() == Lines{"connect allow allowed", "close reset", "connect allow allowed", "close reset"});
  }

  TEST_CASE("the guest's reports are claims: judged again, capped") {
    Rig rig(rules({rule("allowed.test"), rule("ssh.test", {22})}));
    rig.run([](Rig& r) -> Awaitable<void> {
      const auto post = [](Rig& rr, std::string body) -> Awaitable<std::string> {
        auto stream = rr.guest->request(
            {{":method", "POST"}, {":scheme", "http"}, {":authority", "host"}, {":path", "/v1/report"}},
            channel::EndStream::no);
        REQUIRE(stream.has_value());
        co_await stream->write_all(base::as_bytes(body));
        stream->finish();
        if (!co_await stream->response()) co_return "reset";
        co_return *channel::find_header(stream->headers(), ":status");
      };
      CHECK((co_await post(r,
                           "evil.test -\nallowed.test 443\nallowed.test -\nssh.test -\nallowed.test 22\nbad..name -\n"
                           "evil.test 99999\n10.0.0.1 443\n")) == "204");
      CHECK(r.denials.size() == 5);
      std::string flood;
      for (int i = 0; i < 200; ++i)
        flood += fmt::format("e{}.test -\n", i);
      CHECK((co_await post(r, flood)) == "204");
      CHECK(r.denials.size() == 5 + kMaxReportLines);
      CHECK((co_await post(r, std::string(10'000, 'a'))) == "400");
      auto other = r.guest->request({{":method", "GET"}, {":scheme", "http"}, {":authority", "host"}, {":path", "/"}},
                                    channel::EndStream::yes);
      REQUIRE((co_await other->response()).has_value());
      CHECK(*channel::find_header(other->headers(), ":status") == "404");
    }(rig));
    CHECK(rig.denials[0].host == "evil.test");
    CHECK(rig.denials[0].port == 0);
    CHECK(to_string(rig.denials[1].reason) == "port_not_allowed");
    CHECK(rig.denials[1].port == 22);
    CHECK(to_string(rig.denials[2].reason) == "invalid_host");
    CHECK(to_string(rig.denials[4].reason) == "ip_denied");
    CHECK(rig.resolver.queries.empty());
  }
}
