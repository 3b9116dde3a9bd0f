#include "src/base/text/schema.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace cleanroom::base {
namespace {

const Schema& schema() {
  static const Schema rows = {
      {.path = "version",
       .type = SchemaType::integer,
       .presence = Presence::required,
       .doc = "Version",
       .minimum = 1,
       .maximum = 1},
      {.path = "mode", .default_json = "\"fast\"", .doc = "Mode", .choices = {"fast", "slow"}},
      {.path = "on", .type = SchemaType::boolean, .doc = "Switch"},
      {.path = "name", .doc = "Name", .min_size = 1, .max_size = 5},
      {.path = "ports", .type = SchemaType::sequence, .doc = "Ports", .min_size = 1, .max_size = 3},
      {.path = "ports[]", .type = SchemaType::integer, .doc = "Port", .minimum = 1, .maximum = 65535},
      {.path = "outer", .type = SchemaType::mapping, .default_json = "{}", .doc = "Outer"},
      {.path = "outer.inner", .type = SchemaType::integer, .default_json = "7", .doc = "Inner"},
      {.path = "tags", .type = SchemaType::mapping, .doc = "Tags", .max_size = 2},
      {.path = "tags.*", .doc = "Tag"},
      {.path = "kinds", .type = SchemaType::mapping, .doc = "Kinds", .choices = {"npm", "pypi"}},
      {.path = "kinds.*", .type = SchemaType::boolean, .doc = "Kind"},
      {.path = "later", .not_accepted = "not in this build"},
  };
  return rows;
}

struct Checked {
  CheckedDocument document;
  std::vector<std::string> lines;
};

Checked check(std::string_view text) {
  Diagnostics diagnostics("f", "policy_invalid");
  const auto root = parse_yaml(text, diagnostics);
  REQUIRE(root);
  auto document = check_schema(*root, schema(), diagnostics);
  return {std::move(document), diagnostics.lines()};
}

TEST_SUITE("base/text/schema") {
  TEST_CASE("a right file becomes typed values with defaults and places") {
    const auto checked = check("version: 1\non: true\nports: [1, 65535]\ntags: {a: x}\nkinds: {npm: false}\n");
    CHECK(checked.lines.empty());
    CHECK(
        canonical_json(checked.document.value) ==
        R"({"kinds":{"npm":false},"mode":"fast","on":true,"outer":{"inner":7},"ports":[1,65535],"tags":{"a":"x"},"version":1})");
    CHECK(checked.document.position_of("ports[1]") == TextPosition{3, 12});
    CHECK(checked.document.position_of("ports[1].x") == TextPosition{3, 12});
    CHECK(checked.document.position_of("outer.inner") == TextPosition{1, 1});
  }

  TEST_CASE("each fault has one line, and no scalar is converted") {
    struct Case {
      const char* text;
      const char* expected;
    };
    const Case cases[] = {
        {"mode: fast", "f:1:1: version: required key is missing"},
        {"version: 2", "f:1:10: version: only 1 is accepted, found '2'"},
        {"version: \"1\"", "f:1:10: version: expected an integer, found the text '1'"},
        {"version: 1.0", "f:1:10: version: expected a plain decimal integer, found the number '1.0'"},
        {"version: 01", "f:1:10: version: expected a plain decimal integer, found the number '01'"},
        {"version: [1]", "f:1:10: version: expected an integer, found a list"},
        {"version:", "f:1:1: version: expected an integer, found nothing (null)"},
        {"version: 1\nmode: Fast", "f:2:7: mode: expected fast or slow, found the text 'Fast'; did you mean 'fast'?"},
        {"version: 1\nmode: no",
         "f:2:7: mode: expected fast or slow, found 'no', which is a boolean to some YAML readers"},
        {"version: 1\non: yes",
         "f:2:5: on: expected true or false, found 'yes', which is a boolean to some YAML readers"},
        {"version: 1\non: \"true\"", "f:2:5: on: expected true or false, found the text 'true'"},
        {"version: 1\nname: 12", "f:2:7: name: expected text, found the number '12'; write \"12\""},
        {"version: 1\nname: true", "f:2:7: name: expected text, found the boolean true; write \"true\""},
        {"version: 1\nname: \"\"", "f:2:7: name: the text is empty"},
        {"version: 1\nname: abcdef", "f:2:7: name: longer than 5 bytes"},
        {"version: 1\nports: []", "f:2:8: ports: the list is empty"},
        {"version: 1\nports: [1,2,3,4]", "f:2:8: ports: more than 3 elements"},
        {"version: 1\nports: 443", "f:2:8: ports: expected a list, found the number '443'"},
        {"version: 1\nports: [0]", "f:2:9: ports[0]: expected 1 to 65535, found '0'"},
        {"version: 1\nports: [99999999999999999999999999]",
         "f:2:9: ports[0]: expected 1 to 65535, found '999999999999999999999999...'"},
        {"version: 1\nouter: 3", "f:2:8: outer: expected a mapping, found the number '3'"},
        {"version: 1\nouter: {iner: 3}", "f:2:9: outer.iner: unknown key 'iner'; did you mean 'inner'?"},
        {"version: 1\ntags: {a: x, b: x, c: x}", "f:2:7: tags: more than 2 keys"},
        {"version: 1\nkinds: {nmp: true}", "f:2:9: kinds.nmp: unknown key 'nmp'; did you mean 'npm'?"},
        {"version: 1\nlater: 1", "f:2:8: later: not in this build"},
        {"version: 1\n\"a b\": 1",
         "f:2:1: 'a b': unknown key 'a b'; known here: kinds, later, mode, name, on, outer, ports, tags, version"},
        {"- 1", "f:1:1: expected a mapping, found a list"},
        {"abc", "f:1:1: expected a mapping, found the text 'abc'"},
    };
    for (const auto& item : cases) {
      CAPTURE(item.text);
      const auto checked = check(item.text);
      REQUIRE(checked.lines.size() == 1);
      CHECK(checked.lines[0] == item.expected);
    }
  }

  TEST_CASE("a wrong element keeps the index of those after it") {
    const auto checked = check("version: 1\nports: [x, 80]");
    CHECK(checked.lines.size() == 1);
    CHECK(canonical_json(checked.document.value["ports"]) == "[null,80]");
  }

  TEST_CASE("the JSON Schema says the same") {
    const Json json = to_json_schema(schema(), "t");
    CHECK(json["additionalProperties"] == false);
    CHECK(json["required"] == Json::array({"version"}));
    CHECK(json["properties"]["mode"]["enum"] == Json::array({"fast", "slow"}));
    CHECK(json["properties"]["ports"]["items"]["maximum"] == 65535);
    CHECK(json["properties"]["tags"]["additionalProperties"]["type"] == "string");
    CHECK(json["properties"]["kinds"]["additionalProperties"] == false);
    CHECK(json["properties"]["kinds"]["properties"]["pypi"]["type"] == "boolean");
    CHECK_FALSE(json["properties"].contains("later"));
  }

  TEST_CASE("the table for people has a row for each key") {
    const std::string table = to_markdown(schema());
    CHECK(table.find("| `mode` | `fast` \\| `slow` | `\"fast\"` | Mode |") != std::string::npos);
    CHECK(table.find("| `version` | `1` | required | Version |") != std::string::npos);
    CHECK(table.find("Refused: not in this build.") != std::string::npos);
  }
}

}  // namespace
}  // namespace cleanroom::base
