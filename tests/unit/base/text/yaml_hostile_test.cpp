// POL-01: what a hostile file could do to the parser. Time and memory are bounded by construction (size, depth and node
// limits); these tests hold the limits, and the sanitizers see the rest. Measured figures: src/base/text/README.md.
#include "src/base/text/yaml.h"

#include <doctest/doctest.h>

#include <string>

namespace cleanroom::base {
namespace {

std::string repeat(std::string_view text, std::size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i)
    out += text;
  return out;
}

std::string first_error(const std::string& text) {
  Diagnostics diagnostics("f.yaml", "policy_invalid");
  const auto root = parse_yaml(text, diagnostics);
  REQUIRE(diagnostics.has_errors());
  CHECK_FALSE(root);
  return diagnostics.sorted().front().message;
}

TEST_SUITE("base/text/yaml hostile") {
  TEST_CASE("POL-01 nesting beyond 32 levels stops the parser, whatever opens the levels") {
    struct Case {
      const char* name;
      std::string text;
    };
    std::string staircase;
    for (std::size_t i = 0; i < 400; ++i)
      staircase += std::string(i, ' ') + "a:\n";
    const Case cases[] = {
        {"[", repeat("[", 100'000)},      {"{", repeat("{", 100'000)},
        {"{a: ", repeat("{a: ", 50'000)}, {"[{", repeat("[{", 50'000)},
        {"- ", repeat("- ", 50'000)},     {"? ", repeat("? ", 50'000)},
        {"[? ", repeat("[? ", 50'000)},   {"[a: ", "[" + repeat("[a: ", 20'000)},
        {"staircase", staircase},         {"a: [", "a: " + repeat("[", 33)},
    };
    for (const auto& item : cases) {
      CAPTURE(item.name);
      CHECK(first_error(item.text) == "nested deeper than 32 levels");
    }
  }

  TEST_CASE("32 levels are fine") {
    Diagnostics diagnostics("f.yaml", "policy_invalid");
    CHECK(parse_yaml(repeat("[", 32) + repeat("]", 32), diagnostics));
    CHECK_FALSE(diagnostics.has_errors());
  }

  TEST_CASE("POL-01 a file beyond 256 KiB is refused unread, one scalar or many") {
    CHECK(first_error("a: " + std::string(10'000'000, 'x')) == "the file is longer than 262144 bytes");
    CHECK(first_error(std::string(256 * 1024 + 1, ' ')) == "the file is longer than 262144 bytes");
  }

  TEST_CASE("POL-01 an alias bomb is refused before it is anything") {
    std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 20; ++i) {
      const std::string last = "*a" + std::to_string(i - 1);
      bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last + repeat(", " + last, 9) + "]\n";
    }
    Diagnostics diagnostics("f.yaml", "policy_invalid");
    const auto root = parse_yaml(bomb, diagnostics);
    CHECK(diagnostics.error_count() == 20 + 190);
    CHECK(diagnostics.lines().size() == Diagnostics::kMaxKept + 1);
    REQUIRE(root);
    CHECK(root->entries.size() == 20);
    CHECK(root->entries[19].value.items.size() == 10);
    CHECK(root->entries[19].value.items[0].kind == YamlNode::Kind::null);
  }

  TEST_CASE("POL-01 the number of values is bounded") {
    CHECK(first_error("[" + repeat("1,", 100'000)) == "more than 20000 values in one file");
    CHECK(first_error(repeat("- \n", 80'000)) == "more than 20000 values in one file");
    std::string keys;
    for (int i = 0; i < 20'000; ++i)
      keys += std::to_string(i) + ": 1\n";
    CHECK(first_error(keys) == "more than 20000 values in one file");
  }

  TEST_CASE("POL-01 broken and odd input ends in an error, never in a crash") {
    const std::string pieces[] = {"\"",      "'",        "|",      ">",           "&",       "*",
                                  "!",       "!<",       "%",      "@",           "`",       "#",
                                  ":",       "-",        "?",      ",",           "]",       "}",
                                  "\n",      "---\n",    "...\n",  "\"\\x",       "\"\\u12", "\"\\U00110000\"",
                                  "a: |9\n", "a: |+-\n", "&a &b ", "!a !b ",      "*a: ",    "- - ? ",
                                  "{a",      "[a: b: c", "'a'b",   "key: 'x\n\n'"};
    for (const auto& first : pieces) {
      for (const auto& second : pieces) {
        for (const std::size_t times : {1U, 3U, 60U}) {
          Diagnostics diagnostics("f.yaml", "policy_invalid");
          const std::string text = repeat(first + second, times);
          const auto root = parse_yaml(text, diagnostics);
          // A tree, or a reason why there is none.
          CHECK((root.has_value() || diagnostics.has_errors()));
        }
      }
    }
  }
}

}  // namespace
}  // namespace cleanroom::base
