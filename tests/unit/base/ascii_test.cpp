#include "src/base/os/ascii.h"

#include <doctest/doctest.h>

#include <cctype>
#include <clocale>

using namespace cleanroom::base;

TEST_SUITE("base/ascii") {
  TEST_CASE("every byte is in the classes that the C locale puts it in, and none beyond ASCII is in any") {
    std::setlocale(LC_ALL, "C");
    for (int byte = 0; byte < 256; ++byte) {
      CAPTURE(byte);
      const char c = static_cast<char>(byte);
      CHECK(is_ascii_digit(c) == (std::isdigit(byte) != 0));
      CHECK(is_ascii_lower(c) == (std::islower(byte) != 0));
      CHECK(is_ascii_upper(c) == (std::isupper(byte) != 0));
      CHECK(is_ascii_letter(c) == (std::isalpha(byte) != 0));
      CHECK(is_ascii_alnum(c) == (std::isalnum(byte) != 0));
      CHECK(is_ascii_printable(c) == (std::isprint(byte) != 0));
      CHECK(is_ascii_graphic(c) == (std::isgraph(byte) != 0));
      CHECK(is_ascii_lower_hex(c) == (std::isxdigit(byte) != 0 && std::isupper(byte) == 0));
      CHECK((hex_value(c) >= 0) == (std::isxdigit(byte) != 0));
      CHECK(ascii_lower(c) == static_cast<char>(std::tolower(byte)));
    }
  }

  TEST_CASE("a digit of base 16 counts what it says, in either case") {
    for (int value = 0; value < 16; ++value) {
      CHECK(hex_value("0123456789abcdef"[value]) == value);
      CHECK(hex_value("0123456789ABCDEF"[value]) == value);
    }
  }

  TEST_CASE("a text is printable when each of its bytes is") {
    CHECK(is_ascii_printable(""));
    CHECK(is_ascii_printable("a token"));
    CHECK_FALSE(is_ascii_graphic("a token"));
    CHECK(is_ascii_graphic("a-token~"));
    for (const std::string_view bad : {"a\tb", "a\r\n", "\x7f", "caf\xc3\xa9"}) {
      CHECK_FALSE(is_ascii_printable(bad));
      CHECK_FALSE(is_ascii_graphic(bad));
    }
    CHECK_FALSE(is_ascii_printable(std::string_view("a\0b", 3)));
  }

  TEST_CASE("lower case leaves what is not ASCII alone") {
    CHECK(ascii_lower("Content-TYPE 123 \xc3\x84") == "content-type 123 \xc3\x84");
  }
}
