#include "src/base/os/io.h"
#include "src/egress/connect_target.h"
#include "src/egress/guest_text.h"
#include "src/egress/http_request_guard.h"
#include "src/egress/limits.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using egress::HttpRequestGuard;
using model::HostName;

namespace {

struct Passed {
  HttpRequestGuard::State state;
  std::string forwarded;
};

// Feeds `text` in pieces of `step` bytes.
Passed pass(std::string_view text, std::size_t step, std::string_view host = "allowed.test") {
  HttpRequestGuard guard(*HostName::parse(host), 80);
  std::vector<std::byte> out;
  for (std::size_t at = 0; at < text.size(); at += step)
    guard.feed(base::as_bytes(text.substr(at, step)), out);
  return {guard.state(), std::string(base::as_text(out))};
}

using State = HttpRequestGuard::State;

}  // namespace

TEST_SUITE("egress/parsers") {
  TEST_CASE("EGR-17 a port is 1 to 65535 in plain digits") {
    for (const auto* bad : {"0", "65536", "-1", "+443", "0443", "0x1bb", "443 ", " 443", "443abc", "65979", "",
                            "4294967739", "00", "99999"}) {
      CAPTURE(bad);
      CHECK_FALSE(egress::parse_port(bad).has_value());
      CHECK_FALSE(egress::parse_connect_target(std::string("example.com:") + bad).has_value());
    }
    CHECK(*egress::parse_port("1") == 1);
    CHECK(*egress::parse_port("65535") == 65535);
  }

  TEST_CASE("EGR-15 a target is a host and a port, nothing else") {
    CHECK(egress::parse_connect_target("API.example.com.:443")->host.text() == "api.example.com");
    CHECK(egress::parse_connect_target("[::1]:443")->host.text() == "::1");
    CHECK(egress::parse_connect_target("127.1:80")->host.text() == "127.0.0.1");
    for (const auto* bad : {"", ":443", "example.com", "::1:443", "user@example.com:443", "example.com/x:443",
                            "example.com:443/x", "http://example.com:443", "exa mple.com:443", "bücher.example:443",
                            "[example.com]:443", "[::1%eth0]:443", "a:b:443"}) {
      CAPTURE(bad);
      const auto target = egress::parse_connect_target(bad);
      REQUIRE_FALSE(target.has_value());
      CHECK(target.error().reason == "invalid_host");
    }
    CHECK_FALSE(egress::parse_connect_target(std::string_view("evil.test\0.github.com:443", 25)).has_value());
  }

  TEST_CASE("LOG-08 hostile text becomes printable ASCII, cut") {
    CHECK(egress::guest_text("a\n\x1b[31m\"\xff\\", 100) == "a\\x0a\\x1b[31m\"\\xff\\x5c");
    CHECK(egress::guest_text(std::string(1 << 20, 'a'), 10) == "aaaaaaaaaa...");
    CHECK(egress::guest_text("aaa\xff", 5) == "aaa...");
  }

  TEST_CASE("EGR-24 requests for the name pass unchanged, in any segmentation") {
    const std::string_view conversations[] = {
        "GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: Allowed.TEST.:80\r\nUser-Agent: x\r\n\r\nGET /2 HTTP/1.1\r\nHost:allowed.test\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: allowed.test\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: "
        "allowed.test\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: allowed.test\r\nTransfer-Encoding: "
        "chunked\r\n\r\n5\r\nhello\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n"
        "HEAD / HTTP/1.0\r\nHost: allowed.test\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: allowed.test\r\nX: caf\xc3\xa9\r\n\r\n",
        "PUT /p HTTP/1.1\r\nHost: allowed.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n\r\nX",
    };
    for (const auto text : conversations) {
      for (const std::size_t step : {std::size_t{1}, std::size_t{2}, std::size_t{7}, text.size()}) {
        CAPTURE(text);
        CAPTURE(step);
        const auto passed = pass(text, step);
        CHECK(passed.state == State::checking);
        CHECK(passed.forwarded == text);
      }
    }
    CHECK(pass("GET / HTTP/1.1\r\nHost: [2600:0::1]\r\n\r\n", 3, "2600::1").state == State::checking);
  }

  TEST_CASE("EGR-24 whatever could be another request is refused, and none of it passes") {
    const std::string long_head = "GET / HTTP/1.1\r\nHost: allowed.test\r\nX: " + std::string(70'000, 'a') + "\r\n\r\n";
    std::string many_fields = "GET / HTTP/1.1\r\nHost: allowed.test\r\n";
    for (int i = 0; i < 300; ++i)
      many_fields += "A: b\r\n";
    many_fields += "\r\n";
    const std::string host = "Host: allowed.test\r\n";
    const std::string bad[] = {
        "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n" + host + host + "\r\n",
        "GET / HTTP/1.1\r\n" + host + "Host: evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: allowed.test, evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: allowed.test evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@allowed.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: allowed.test:8080\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: allowed.test:080\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : allowed.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: allowed.test\r\n evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\r\n\tHost: allowed.test\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: allowed.test\r\n\r\n",
        "GET http://evil.test/ HTTP/1.1\r\n" + host + "\r\n",
        "GET http://allowed.test/ HTTP/1.1\r\n" + host + "\r\n",
        "GET //evil.test HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        "CONNECT evil.test:443 HTTP/1.1\r\n" + host + "\r\n",
        "CONNECT /x HTTP/1.1\r\n" + host + "\r\n",
        "GET /a b HTTP/1.1\r\n" + host + "\r\n",
        "GET /\x01 HTTP/1.1\r\n" + host + "\r\n",
        "GET / HTTP/2.0\r\n" + host + "\r\n",
        "GET / HTTP/1.2\r\n" + host + "\r\n",
        "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\n" + host + "\r\n",
        "GET / HTTP/1.1\nHost: allowed.test\n\nX: \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: allowed.test\nHost: evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: allowed.test\r\nX: a\rb\r\n\r\n",
        std::string("GET / HTTP/1.1\r\nHost: allowed.test\r\nX: a\0b\r\n\r\n", 46),
        "POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\n" + host + "Content-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\n" + host + "Content-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\n" + host + "Upgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\n" + host + "no colon\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        long_head,
        many_fields,
    };
    for (const auto& text : bad) {
      for (const std::size_t step : {std::size_t{1}, text.size()}) {
        CAPTURE(text.substr(0, 200));
        CAPTURE(step);
        const auto passed = pass(text, step);
        CHECK(passed.state == State::refused);
        CHECK(passed.forwarded == "");
      }
    }
  }

  TEST_CASE("EGR-24 a later request is judged like the first, and a body cannot hide one") {
    const std::string first = "POST / HTTP/1.1\r\nHost: allowed.test\r\nContent-Length: 4\r\n\r\nbody";
    const std::string evil = "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    for (const std::size_t step : {1UL, 5UL, 1000UL}) {
      CHECK(pass(first + evil, step).forwarded == first);
      CHECK(pass(first + evil, step).state == State::refused);
    }
    const std::string head = "POST / HTTP/1.1\r\nHost: allowed.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (const auto* body :
         {"-1\r\n", "g\r\n", "\r\n", "1 \r\nx\r\n", "0x5\r\n", "5\nhello\r\n", "fffffffffffffffff\r\n", "5;\x01\r\n"})
      CHECK(pass(head + body, 1).state == State::refused);
    CHECK(pass(head + "5\r\nhelloX", 1).state == State::refused);
    CHECK(pass(head + "0\r\nHost: evil.test\r\n\r\n", 1).state == State::refused);
    CHECK(pass(head + std::string(2000, '1'), 1).state == State::refused);
    const auto smuggled = pass(head + "0\r\n\r\n" + evil, 3);
    CHECK(smuggled.state == State::refused);
    CHECK(smuggled.forwarded == head + "0\r\n\r\n");
  }

  TEST_CASE("a websocket upgrade holds the client until the server has switched") {
    const std::string upgrade =
        "GET /ws HTTP/1.1\r\nHost: allowed.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    const std::string frames = "\x82\x05hello";
    HttpRequestGuard switched(*HostName::parse("allowed.test"), 80);
    std::vector<std::byte> out;
    CHECK(switched.feed(base::as_bytes(upgrade), out) == State::upgrade_asked);
    CHECK(switched.feed(base::as_bytes(frames), out) == State::upgrade_asked);
    CHECK(base::as_text(out) == upgrade);
    CHECK(switched.upgrade_answered(true, out) == State::opaque);
    CHECK(base::as_text(out) == upgrade + frames);

    HttpRequestGuard refused(*HostName::parse("allowed.test"), 80);
    out.clear();
    refused.feed(base::as_bytes(upgrade + "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"), out);
    CHECK(refused.upgrade_answered(false, out) == State::refused);
    CHECK(base::as_text(out) == upgrade);
    // Not first: its answer could not be told from those before it.
    CHECK(pass("GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n" + upgrade, 1000).state == State::refused);
  }

  TEST_CASE("a request is judged alike however its bytes arrive, at the size limits too") {
    const std::string chunked = "PUT / HTTP/1.1\r\nHost: allowed.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    const std::string upgrade =
        "GET /ws HTTP/1.1\r\nHost: allowed.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (std::size_t size = egress::kMaxChunkLineBytes - 3; size <= egress::kMaxChunkLineBytes + 3; ++size) {
      const std::string text = chunked + "1;" + std::string(size - 4, 'e') + "\r\nx\r\n0\r\n\r\n";
      const auto whole = pass(text, text.size());
      CHECK(whole.state == (size <= egress::kMaxChunkLineBytes ? State::checking : State::refused));
      CHECK(pass(text, 1).state == whole.state);
      CHECK(pass(text, 1).forwarded == whole.forwarded);
    }
    const std::string early = upgrade + std::string(egress::kMaxHttpHeadBytes + 1, 'x');
    CHECK(pass(early, early.size()).state == State::refused);
    CHECK(pass(early, 1).state == State::refused);
  }
}
