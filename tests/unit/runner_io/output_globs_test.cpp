#include "src/runner/output_globs.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace cleanroom::runner {
namespace {

bool matches(std::string_view pattern, std::string_view path) {
  OutputGlobs globs;
  const auto added = globs.add(pattern);
  REQUIRE_MESSAGE(added.has_value(), std::string(pattern));
  return globs.matches(path);
}

TEST_CASE("patterns match whole paths") {
  struct {
    std::string_view pattern, path;
    bool expected;
  } const cases[] = {
      {"build/report.txt", "build/report.txt", true},
      {"build", "build/report.txt", false},
      {"build/", "build/a/report.txt", true},
      {"build/", "build", false},
      {"./build//x", "build/x", true},
      {"*.txt", "a.txt", true},
      {"*.txt", "d/a.txt", false},
      {"*", ".hidden", true},
      {"a*b*c", "aXbYbZc", true},
      {"a*b*c", "aXbYbZ", false},
      {"**", "a", true},
      {"**", "a/b/c", true},
      {"**/*.xml", "a.xml", true},
      {"**/*.xml", "x/y/a.xml", true},
      {"a/**/b", "a/b", true},
      {"a/**/b", "a/x/y/b", true},
      {"a/**/b", "a/x/y/c", false},
      {"a/**/**/b/**", "a/b/c", true},
      {"a/**", "a", false},
      {"a/**", "a/b/c", true},
      {"a/**/c/**/d", "a/c/x/c/y/d", true},
      {"x**y", "x/y", false},
      {"x**y", "xzzy", true},
      {"?.c", "a.c", true},
      {"?.c", "\xc3\xa9.c", true},
      {"*??b",
       "\xc3\xa9"
       "b",
       false},
      {"??", "\xc3\xa9", false},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[!a-c]x", "dx", true},
      {"[^a-c]x", "ax", false},
      {"[]]x", "]x", true},
      {"[!]]x", "]x", false},
      {"[a-]x", "-x", true},
      {"[\xc3\xa0-\xc3\xaf]", "\xc3\xa9", true},
      {"[*]", "*", true},
      {"[*]", "a", false},
      {"{a,b/c}/d", "b/c/d", true},
      {"{a,b/c}/d", "a/d", true},
      {"{a,b/c}/d", "b/d", false},
      {"x{,.gz}", "x", true},
      {"x{,.gz}", "x.gz", true},
      {"{a,{b,c}d}e", "cde", true},
      {"{a,{b,c}d}e", "ce", false},
      {"{[,],x}", ",", true},
      {"\\{a\\}", "{a}", true},
      {"\\*", "*", true},
      {"\\*", "a", false},
      {"\\[x", "[x", true},
      {"-rf", "-rf", true},
  };
  for (const auto& c : cases) {
    CAPTURE(c.pattern);
    CAPTURE(c.path);
    CHECK(matches(c.pattern, c.path) == c.expected);
  }
}

TEST_CASE("patterns that lead elsewhere or mean nothing are refused and leave no trace") {
  const std::string_view bad[] = {"",       "/etc/passwd", "~/x",
                                  "a/../b", "..",          "\\.\\./x",
                                  "\\/etc", "{a,/etc/x}",  "{..,a}/b",
                                  "[a",     "a{b",         "a}b",
                                  "[a/b]",  "x\\",         "a\nb",
                                  "\x1b[m", "\xff",        "/",
                                  ".",      "{.,..}",      "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"};
  for (const auto pattern : bad) {
    CAPTURE(pattern);
    OutputGlobs globs;
    const auto added = globs.add(pattern);
    REQUIRE_FALSE(added.has_value());
    CHECK(added.error().code == base::Code::invalid_input);
    CHECK(added.error().message.find_first_of("\n\x1b") == std::string::npos);
    CHECK(globs.empty());
    CHECK_FALSE(globs.matches("a"));
  }
  OutputGlobs globs;
  CHECK_FALSE(globs.add(std::string(kMaxGlobBytes + 1, 'a')).has_value());
}

TEST_CASE("no pattern is slow") {
  std::string pattern, path;
  for (int i = 0; i < 40; ++i)
    pattern += "**/*a*/";
  for (int i = 0; i < 400; ++i)
    path += "aaaaaaaaab/";
  CHECK_FALSE(matches(pattern + "c", path + "d"));
  std::string stars;
  for (int i = 0; i < 100; ++i)
    stars += "*a";
  CHECK_FALSE(matches(stars + "c", std::string(255, 'a')));
}

TEST_CASE("artifact path lists are split, and host paths among them known") {
  CHECK(split_artifact_paths(" a/*.txt ;;b ; /tmp/x;\n~/y") ==
        std::vector<std::string>{"a/*.txt", "b", "/tmp/x", "~/y"});
  CHECK(split_artifact_paths(" ; ").empty());
  CHECK(is_host_pattern("/tmp/x"));
  CHECK(is_host_pattern("~/x"));
  CHECK_FALSE(is_host_pattern("a/b"));
  CHECK_FALSE(is_host_pattern("a~"));
}

}  // namespace
}  // namespace cleanroom::runner
