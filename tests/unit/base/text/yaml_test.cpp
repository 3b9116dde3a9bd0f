#include "src/base/text/yaml.h"

#include <doctest/doctest.h>

namespace cleanroom::base {
namespace {

struct Parsed {
  std::optional<YamlNode> root;
  std::vector<std::string> lines;
};

Parsed parse(std::string_view text) {
  Diagnostics diagnostics("f.yaml", "policy_invalid");
  auto root = parse_yaml(text, diagnostics);
  return {std::move(root), diagnostics.lines()};
}

TEST_SUITE("base/text/yaml") {
  TEST_CASE("a tree keeps places, quoting and nulls") {
    const auto parsed = parse("a: 1\nb:\n  - \"1\"\n  - ~\n'ü': {c: [x]}\nd: |\n  1\n");
    REQUIRE(parsed.lines.empty());
    REQUIRE(parsed.root);
    const YamlNode& root = *parsed.root;
    REQUIRE(root.kind == YamlNode::Kind::mapping);
    CHECK(root.find("a")->text == "1");
    CHECK_FALSE(root.find("a")->quoted);
    CHECK(root.find("a")->position == TextPosition{1, 4});
    CHECK(root.find("b")->items[0].quoted);
    CHECK(root.find("b")->items[0].position == TextPosition{3, 5});
    CHECK(root.find("b")->items[1].kind == YamlNode::Kind::null);
    CHECK(root.entries[2].key_position == TextPosition{5, 1});
    // Columns count code points: 'ü': is four of them, five bytes.
    CHECK(root.entries[2].value.position == TextPosition{5, 6});
    CHECK(root.find("d")->quoted);
    CHECK(root.find("nothing") == nullptr);
  }

  TEST_CASE("POL-02 what YAML readers disagree about is refused with its place") {
    struct Case {
      const char* text;
      const char* expected;
    };
    const Case cases[] = {
        {"a: 1\na: 2\n", "f.yaml:2:1: duplicate key 'a'"},
        {"a: 1\n\"a\": 2\n", "f.yaml:2:1: duplicate key 'a'"},
        {"x: {b: 1, b: 2}\n", "f.yaml:1:11: duplicate key 'b'"},
        {"a: &x 1\n", "f.yaml:1:4: anchors (&name) are not accepted"},
        {"a: &x [1]\n", "f.yaml:1:4: anchors (&name) are not accepted"},
        {"a: &x\n", "f.yaml:1:4: anchors (&name) are not accepted"},
        {"a: 1\n<<: {b: 1}\n", "f.yaml:2:1: merge keys (<<) are not accepted"},
        {"a: !!str 1\n", "f.yaml:1:4: tags (!name) are not accepted"},
        {"a: !x {}\n", "f.yaml:1:4: tags (!name) are not accepted"},
        {"a: ! 1\n", "f.yaml:1:4: tags (!name) are not accepted"},
        {"a: !<tag:yaml.org,2002:int> 1\n", "f.yaml:1:4: tags (!name) are not accepted"},
        {"? [a]\n: 1\n", "f.yaml:1:3: a key must be text"},
        {"? {a: b}\n: 1\n", "f.yaml:1:3: a key must be text"},
        {"~: 1\n", "f.yaml:1:1: a key must be text"},
        {"a: 1\n---\nb: 2\n", "f.yaml: more than one document in the file"},
        {"a: 1\n...\n---\n", "f.yaml: more than one document in the file"},
        {"a:\n\tb: 1\n", "f.yaml:2:1: tab in indentation; use spaces"},
        {"a:\n  \tb: 1\n", "f.yaml:2:3: tab in indentation; use spaces"},
        {"%YAML 1.2\n---\na: 1\n", "f.yaml:1:1: directives (%YAML, %TAG) are not accepted"},
        {"\xEF\xBB\xBF"
         "a: 1\n",
         "f.yaml:1:1: the file starts with a byte order mark; save it without"},
        {"a: \xFF\n", "f.yaml:1:4: the file is not UTF-8"},
        {"a: \xC0\xAF\n", "f.yaml:1:4: the file is not UTF-8"},
        {"a: \xED\xA0\x80\n", "f.yaml:1:4: the file is not UTF-8"},
        {"a: 1\r# b\n", "f.yaml:1:5: control or invisible character U+000D; write it as an escape in double quotes"},
        {"a: \x1b[31m\n", "f.yaml:1:4: control or invisible character U+001B; write it as an escape in double quotes"},
        {"a: x\xE2\x80\xAEy\n",
         "f.yaml:1:5: control or invisible character U+202E; write it as an escape in double quotes"},
        {"", "f.yaml: the file is empty"},
        {"# only a comment\n", "f.yaml: the file is empty"},
    };
    for (const auto& item : cases) {
      CAPTURE(item.text);
      const auto parsed = parse(item.text);
      REQUIRE(parsed.lines.size() == 1);
      CHECK(parsed.lines[0] == item.expected);
    }
  }

  TEST_CASE("POL-02 UTF-16 and UTF-32 are refused by name, and NUL bytes at all") {
    using namespace std::string_view_literals;
    for (const auto text : {"\xFF\xFE"
                            "a\0:\0 \0001\0"sv,
                            "\xFE\xFF\0a\0:"sv, "a\0:\0 \0001\0"sv, "\0a\0:"sv, "\0\0\xFE\xFF\0\0\0a"sv}) {
      const auto parsed = parse(text);
      CHECK_FALSE(parsed.root);
      REQUIRE(parsed.lines.size() == 1);
      CHECK(parsed.lines[0] == "f.yaml:1:1: the file is UTF-16 or UTF-32; save it as UTF-8");
    }
    CHECK(parse("a: x\0y\n"sv).lines.at(0) ==
          "f.yaml:1:5: control or invisible character U+0000; write it as an escape in double quotes");
  }

  TEST_CASE("an alias is an error and the rest of the file is still reported") {
    const auto parsed = parse("a: &x 1\nb: *x\nc: 1\nc: 2\n");
    REQUIRE(parsed.lines.size() == 3);
    CHECK(parsed.lines[1] == "f.yaml:2:4: aliases (*name) are not accepted");
    CHECK(parsed.lines[2] == "f.yaml:4:1: duplicate key 'c'");
  }

  TEST_CASE("syntax errors carry their place") {
    const auto parsed = parse("a: [1, 2\nb: 3\n");
    CHECK_FALSE(parsed.root);
    REQUIRE(parsed.lines.size() == 1);
    CHECK(parsed.lines[0].substr(0, 9) == "f.yaml:2:");
  }

  TEST_CASE("one leading document marker, CRLF and a trailing end marker are fine") {
    for (const char* text : {"---\na: 1\n", "a: 1\r\nb: 2\r\n", "a: 1\n...\n"}) {
      CAPTURE(text);
      const auto parsed = parse(text);
      CHECK(parsed.lines.empty());
      CHECK(parsed.root->find("a")->text == "1");
    }
  }

  TEST_CASE("a plain scalar is text only where no reader takes it for something else") {
    for (const char* text :
         {"abc", "1.2.3.4", "::1", "1-2", "v1", "api.github.com", "e5", "0x", "-", ".", "1e", "10.0.0.0/8"}) {
      CAPTURE(text);
      CHECK(classify_plain_scalar(text) == PlainScalar::text);
    }
    for (const char* text : {"0", "7", "443", "99999999999999999999"}) {
      CHECK(classify_plain_scalar(text) == PlainScalar::integer);
    }
    for (const char* text : {"01", "-1", "+1", "1_000", "0x1bb", "0o17", "0b1", "1.", ".5", "443.0", "1e3", "1.5e-3",
                             ".inf", "-.INF", ".nan"}) {
      CAPTURE(text);
      CHECK(classify_plain_scalar(text) == PlainScalar::other_number);
    }
    for (const char* text : {"yes", "No", "ON", "off", "y", "N", "True", "FALSE"}) {
      CHECK(classify_plain_scalar(text) == PlainScalar::ambiguous_boolean);
    }
    CHECK(classify_plain_scalar("true") == PlainScalar::boolean);
  }

  TEST_CASE("text from a file is shown escaped and cut") {
    CHECK(quote_text("a\x1b[31m\n") == "'a\\x1b[31m\\x0a'");
    CHECK(quote_text("\xFF") == "'\\xff'");
    CHECK(quote_text("x\xE2\x80\xAEy") == "'x\\u{202e}y'");
    CHECK(quote_text("ääää", 3) == "'ä...'");
  }
}

}  // namespace
}  // namespace cleanroom::base
