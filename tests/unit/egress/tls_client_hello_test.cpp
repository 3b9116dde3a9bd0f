#include "src/egress/tls_client_hello.h"

#include "src/base/os/io.h"
#include "src/egress/limits.h"
#include "tests/unit/egress/hello_builder.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using egress::ClientHelloReader;
using State = ClientHelloReader::State;
using namespace egress::testing;

namespace {

struct Read {
  State state;
  std::string server_name;
  bool ech;
  bool operator==(const Read&) const = default;
};

Read read_in_steps(const std::string& bytes, std::size_t step) {
  ClientHelloReader reader;
  for (std::size_t at = 0; at < bytes.size(); at += step)
    reader.feed(base::as_bytes(std::string_view(bytes).substr(at, step)));
  const auto& hello = reader.hello();
  if (reader.state() == State::complete) CHECK(base::as_text(reader.received()) == bytes);
  return {reader.state(), hello.server_name ? hello.server_name->text() : "", hello.has_ech};
}

// The same answer for several segmentations.
Read read(const std::string& bytes) {
  const auto whole = read_in_steps(bytes, bytes.size());
  for (const std::size_t step : {1UL, 2UL, 3UL, 5UL, 7UL, 100UL, 1000UL}) {
    CAPTURE(step);
    const auto split = read_in_steps(bytes, step);
    CHECK(split.state == whole.state);
    if (whole.state == State::complete) CHECK(split == whole);
  }
  return whole;
}

}  // namespace

TEST_SUITE("egress/tls_client_hello") {
  TEST_CASE("EGR-20 the server name is read and made canonical") {
    CHECK(read(records(hello({sni("allowed.test")}))) == Read{State::complete, "allowed.test", false});
    CHECK(read(records(hello({sni("ALLOWED.Test.")}))) == Read{State::complete, "allowed.test", false});
    CHECK(read(records(hello({extension(43, "\x02\x03\x04")}))) == Read{State::complete, "", false});
    CHECK(read(records(hello({}))) == Read{State::complete, "", false});
    CHECK(read(records(hello({sni("allowed.test"), extension(0xfe0d, std::string(200, 'e'))}))) ==
          Read{State::complete, "allowed.test", true});
  }

  TEST_CASE("EGR-20 a server name that is not exactly one host name is invalid") {
    const std::string zero(1, '\0');
    for (const auto& bad : {
             extension(0, ""),             // no list
             extension(0, vector(2, "")),  // empty list
             sni(""),                      // empty name
             sni("127.0.0.1"),             // address
             sni("0x7f.1"),
             sni("::1"),
             sni(std::string_view("allowed.test\0.evil.test", 23)),
             sni("allowed.test "),
             sni("allowed..test"),
             sni("b\xc3\xbc"
                 "cher.example"),
             extension(0, vector(2, zero + vector(2, "allowed.test") + zero + vector(2, "evil.test"))),  // two names
             extension(0, vector(2, std::string(1, '\x01') + vector(2, "allowed.test"))),                // another type
             extension(0, vector(2, zero + vector(2, "allowed.test")) + "x"),  // bytes left over
             extension(0, vector(2, zero + vector(2, "allowed.test") + "x")),
         }) {
      CHECK(read(records(hello({bad}))).state == State::invalid);
    }
    CHECK(read(records(hello({sni("allowed.test"), sni("evil.test")}))).state == State::invalid);
    CHECK(read(records(hello({sni("allowed.test"), extension(10, "a"), extension(10, "b")}))).state == State::invalid);
  }

  TEST_CASE("EGR-21 one verdict for every segmentation, also over records") {
    const auto message = hello({sni("allowed.test"), extension(21, std::string(1400, '\0'))});
    const Read expected{State::complete, "allowed.test", false};
    for (const std::size_t size : {1UL, 2UL, 3UL, 40UL, 500UL, 16384UL}) {
      CAPTURE(size);
      CHECK(read(records(message, size)) == expected);
    }
    // 1.7 KiB with a post-quantum key share, in three segments
    const auto post_quantum = records(hello({sni("allowed.test"), extension(51, std::string(1700, 'k'))}));
    CHECK(read_in_steps(post_quantum, post_quantum.size() / 3 + 1) == expected);
    // above one record
    const auto large = hello({sni("allowed.test"), extension(21, std::string(30'000, '\0'))});
    CHECK(read_in_steps(records(large, 16384), 4096) == expected);
  }

  TEST_CASE("EGR-21 EGR-22 what is not a ClientHello is invalid as soon as that shows") {
    const auto message = hello({sni("allowed.test")});
    const auto good = records(message);
    for (const auto& bad : {
             std::string("GET / HTTP/1.1\r\n\r\n"), std::string("SSH-2.0-OpenSSH_9.2\r\n"),
             std::string("\x80\x2e\x01\x03\x01", 5) + std::string(44, 'a'),       // SSLv2
             std::string("\x16\x03\x01\x00\x00", 5) + good,                       // zero-length record
             record("") + good, std::string("\x16\x02\x01", 3) + good.substr(3),  // version
             std::string("\x15\x03\x01\x00\x02\x02\x28", 7),                      // alert
             std::string("\x16\x03\x01\x40\x01", 5) + std::string(16385, 'a'),    // record above 2^14
             records("\x02" + message.substr(1)),                                 // ServerHello
             records(message + "x"),                                              // more in the same record
             records(message + message),
             record(message.substr(0, 20)) + std::string("\x14\x03\x03\x00\x01\x01", 6) + record(message.substr(20)),
             records(handshake(std::string(70'000, 'a')), 16384),                                // above the limit
             records(handshake("short")), records(message.substr(0, message.size() - 1) + "y"),  // inner lengths off
         }) {
      const auto state = read_in_steps(bad, 1).state;
      CAPTURE(bad.substr(0, 10));
      if (bad.substr(0, 4) == good.substr(0, 4) && bad.size() == good.size()) {
        CHECK(state != State::need_more);
        continue;
      }
      CHECK(state == State::invalid);
      CHECK(read_in_steps(bad, bad.size()).state == State::invalid);
    }
    CHECK(read_in_steps(good.substr(0, good.size() - 1), 1).state == State::need_more);
  }

  TEST_CASE("EGR-21 a hello cut anywhere inside is never complete, and changed lengths are never another name") {
    const auto message = hello({sni("allowed.test"), extension(43, "\x02\x03\x04")});
    for (std::size_t at = 4; at < message.size(); ++at) {
      auto cut = handshake(message.substr(4, at - 4));
      const auto result = read_in_steps(records(cut), 1000);
      CAPTURE(at);
      // Cut before the extensions' length it is a well-formed hello without any.
      if (result.state == State::complete) CHECK(result.server_name == "");
      auto flipped = message;
      flipped[at] = static_cast<char>(flipped[at] ^ 1);
      const auto changed = read_in_steps(records(flipped), 1000);
      if (changed.state == State::complete && changed.server_name != "allowed.test")
        CHECK(changed.server_name.size() <= 12);
    }
  }
}
