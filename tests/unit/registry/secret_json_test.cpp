// JSON whose strings stay out of the JSON library.
#include "src/registry/secret_json.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::registry;

namespace {

// The string at `key`, "!" when it is malformed, "?" when the text is no JSON.
std::string at(std::string_view text, const std::string& key = "k") {
  const auto json = SecretJson::parse(text, 1000);
  if (!json) {
    CHECK(json.error().describe().find("canary") == std::string::npos);
    return "?";
  }
  CHECK(json->root().dump().find("canary") == std::string::npos);
  const auto value = json->text(json->root(), key);
  return value ? std::string(value->reveal()) : "!";
}

}  // namespace

TEST_CASE("strings come back as they were, escapes undone") {
  CHECK(at(R"({"k":"canary"})") == "canary");
  CHECK(at(R"( { "a" : [1, "x", {"k":"y"}], "k" : "canary" } )") == "canary");
  CHECK(at(R"({"k":"","b":true})").empty());
  CHECK(at(R"({"k":"\u003ctoken\u003e"})") == "<token>");
  CHECK(at(R"({"k":"a\"b\\c\/\b\f\n\r\td"})") == "a\"b\\c/\b\f\n\r\td");
  CHECK(at(R"({"k":"\u00e9\u20AC\ud83d\ude00"})") == "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(at("{\"k\":\"caf\xc3\xa9\"}") == "caf\xc3\xa9");
  CHECK(at(R"({"k":"a: {}, \"canary\": 1"})") == "a: {}, \"canary\": 1");
  CHECK(at(R"({"a\"b":"canary"})", "a\"b") == "canary");
}

TEST_CASE("a key that is not there, or is no string, is empty") {
  for (const char* text : {"{}", R"({"j":"canary"})", R"({"k":1})", R"({"k":null})", R"({"k":["canary"]})", "[]", "1",
                           R"(["canary"])", R"("canary")"}) {
    CAPTURE(std::string(text));
    CHECK(at(text).empty());
  }
}

TEST_CASE("malformed escapes and texts are refused, and quoted nowhere") {
  for (const char* text :
       {R"({"k":"\x"})", R"({"k":"\u12"})", R"({"k":"\u12g4"})", R"({"k":"\u+123"})", R"({"k":"\ud800"})",
        R"({"k":"\ud800\ud800"})", R"({"k":"\ud800x"})", R"({"k":"\udc00"})", "{\"k\":\"a\nb\"}"}) {
    CAPTURE(std::string(text));
    CHECK(at(text) == "!");
  }
  for (const char* text : {"", " ", "{", "canary", R"({"k":"canary)", R"({"k":"canary\")", R"({"k":"canary",})",
                           R"({"k":canary})", R"({"k":"canary"} "canary")", R"({"k":"a","k":"canary"})",
                           R"({"k" "canary"})", R"("k":"canary")", "{\"k\":\"canary\"}\x01"}) {
    CAPTURE(std::string(text));
    CHECK(at(text) == "?");
  }
  CHECK(at("{\"k\":\"" + std::string(990, 'x') + "\"}").size() == 990);
  CHECK(at("{\"k\":\"" + std::string(1000, 'x') + "\"}") == "?");
  CHECK(at(std::string(40, '[') + std::string(40, ']')) == "?");
}
