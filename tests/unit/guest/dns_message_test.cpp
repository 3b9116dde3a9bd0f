#include "guest/dns_message.h"

#include "guest/dns_server.h"

#include <doctest/doctest.h>

#include <string>

using namespace cleanroom::guest;

namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

// A query as resolvers send it. `name` is in wire form already.
std::vector<std::byte> query(std::string_view wire_name, std::uint16_t type, std::string_view after = {}) {
  std::string text("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  text += wire_name;
  text += static_cast<char>(type >> 8);
  text += static_cast<char>(type & 255);
  text += std::string("\0\1", 2);
  text += after;
  return bytes_of(text);
}

const std::string kExample("\7eXample\3com\0", 13);

unsigned code_of(const std::vector<std::byte>& answer) {
  return std::to_integer<unsigned>(answer.at(3)) & 15;
}
unsigned answers_in(const std::vector<std::byte>& answer) {
  return std::to_integer<unsigned>(answer.at(7));
}

}  // namespace

TEST_CASE("a question is read, its name in lower case, its wire form kept") {
  const auto question = parse_dns_question(query(kExample, 1));
  REQUIRE(question);
  CHECK(question->id == 0x1234);
  CHECK(question->name == "example.com");
  CHECK(question->type == 1);
  CHECK(question->recursion_desired);
  CHECK(question->wire == bytes_of(kExample + std::string("\0\1\0\1", 4)));
}

TEST_CASE("an answer echoes the question and carries the address") {
  const auto question = parse_dns_question(query(kExample, 1));
  REQUIRE(question);
  const auto answer = encode_dns_answer(*question, DnsCode::ok, 0xc6120102);
  const std::string expected = std::string("\x12\x34\x85\x80\0\1\0\1\0\0\0\0", 12) + kExample +
                               std::string("\0\1\0\1\xc0\x0c\0\1\0\1\0\0\x01\x2c\0\4\xc6\x12\1\2", 20);
  CHECK(answer == bytes_of(expected));
}

TEST_CASE("hostile packets are not questions") {
  std::string long_name;
  for (int i = 0; i < 5; ++i)
    long_name += std::string(1, 63) + std::string(63, 'a');
  const std::string compressed("\xc0\x0c", 2);
  CHECK_FALSE(parse_dns_question({}));
  CHECK_FALSE(parse_dns_question(query(long_name + std::string(1, '\0'), 1)));
  CHECK_FALSE(parse_dns_question(query(compressed, 1)));
  CHECK_FALSE(parse_dns_question(query("\x40" + std::string(64, 'a') + std::string(1, '\0'), 1)));
  CHECK_FALSE(parse_dns_question(query(kExample, 1, std::string(2000, 'x'))));
  auto response = query(kExample, 1);
  response[2] |= std::byte{0x80};
  CHECK_FALSE(parse_dns_question(response));
  auto two = query(kExample, 1);
  two[5] = std::byte{2};
  CHECK_FALSE(parse_dns_question(two));
}

TEST_CASE("every truncation of a question is refused, and every single byte may change without harm") {
  const auto whole = query(kExample, 1);
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK_FALSE(parse_dns_question(std::span(whole).first(size)));
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      auto changed = whole;
      changed[at] = static_cast<std::byte>(value);
      const auto question = parse_dns_question(changed);
      if (question) CHECK(question->name.size() <= 255);
    }
  }
}

TEST_CASE("a name with a dot or NUL inside a label is no host name") {
  const auto dotted = parse_dns_question(query(std::string("\5a.b.c\0", 7), 1));
  REQUIRE(dotted);
  CHECK(dotted->name.empty());
  const auto nul = parse_dns_question(query(std::string("\3a\0b\0", 5), 1));
  REQUIRE(nul);
  CHECK(nul->name.empty());
}

TEST_CASE("the server answers allowed names and refuses and notes the others") {
  NameTable names;
  Denials denials;
  names.allow({"example.com"});
  const auto ask = [&](std::string_view wire, std::uint16_t type) {
    return answer_dns(parse_dns_question(query(wire, type)).value(), names, denials);
  };
  CHECK(code_of(ask(kExample, 1)) == 0);
  CHECK(answers_in(ask(kExample, 1)) == 1);
  CHECK(answers_in(ask(kExample, 28)) == 0);  // AAAA: the name exists, without one
  CHECK(code_of(ask(kExample, 28)) == 0);
  CHECK(denials.take_report().empty());
  CHECK(code_of(ask(std::string("\4evil\4test\0", 11), 1)) == 3);  // NXDOMAIN: musl waits out a REFUSED
  CHECK(code_of(ask(std::string("\4evil\4test\0", 11), 28)) == 3);
  CHECK(denials.take_report() == "evil.test -\n");
  CHECK(code_of(ask(std::string("\0011\003168\00218\003198\007in-addr\004arpa\0", 27), kDnsTypePtr)) == 3);
  CHECK(denials.take_report().empty());
  CHECK(answers_in(ask(std::string("\3foo\11localhost\0", 15), 1)) == 1);
}
