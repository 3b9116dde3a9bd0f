#include "src/base/text/json.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace cleanroom::base {
namespace {

std::string error_of(std::string_view text) {
  const auto parsed = parse_json(text, "x");
  return parsed ? "" : parsed.error().message;
}

TEST_SUITE("base/text/json") {
  TEST_CASE("canonical JSON has sorted keys and no spaces") {
    const auto value = parse_json(R"( { "b" : [1, 2.5, null], "a" : {"d": true, "c": "ü\n"} } )", "x");
    REQUIRE(value);
    CHECK(canonical_json(*value) == "{\"a\":{\"c\":\"ü\\n\",\"d\":true},\"b\":[1,2.5,null]}");
  }

  TEST_CASE("duplicate keys, depth, size, comments and trailing text are refused") {
    CHECK(error_of(R"({"a":1,"a":2})") == "cannot read 'x' as JSON: duplicate key 'a'");
    CHECK(error_of(R"([{"b":{"a":1,"\u0061":2}}])") == "cannot read 'x' as JSON: duplicate key 'a'");
    CHECK(error_of(R"([{"a":1},{"a":2}])").empty());
    CHECK(error_of(std::string(33, '[')) == "cannot read 'x' as JSON: nested deeper than 32 levels");
    CHECK(error_of(std::string(100'000, '[')) == "cannot read 'x' as JSON: nested deeper than 32 levels");
    CHECK(error_of(std::string(1024 * 1024 + 1, ' ')) == "cannot read 'x' as JSON: longer than 1048576 bytes");
    for (const char* text :
         {"", "{", "[1,]", "// c\n1", "1 2", "{'a':1}", "\"\xFF\"", "\"\\ud800\"", "01", "nul", "NaN", "\"\n\""}) {
      CAPTURE(text);
      CHECK_FALSE(error_of(text).empty());
    }
  }

  TEST_CASE("an error does not repeat the text, which may be long and hold anything") {
    CHECK(error_of("\x7f").find('\x7f') == std::string::npos);
    CHECK(error_of("[\"" + std::string(10'000, 'x') + "\" \"\"]").size() < 200);
    CHECK(error_of("[1 2]").find("byte 4: parse error at line 1, column 4: syntax error") != std::string::npos);
  }

  TEST_CASE("the number of values is bounded") {
    CHECK(parse_json("[1,1,1]", "x", {.max_values = 4}));
    CHECK_FALSE(parse_json("[1,1,1,1]", "x", {.max_values = 4}));
  }
}

}  // namespace
}  // namespace cleanroom::base
