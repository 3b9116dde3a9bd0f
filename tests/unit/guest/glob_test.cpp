#include "guest/glob.h"

#include <doctest/doctest.h>

using namespace cleanroom::guest;

namespace {
struct Row {
  const char* pattern;
  const char* path;
  bool matches;
};
}  // namespace

TEST_CASE("patterns match as documented") {
  const Row rows[] = {
      {"a.txt", "a.txt", true},
      {"a.txt", "b/a.txt", false},
      {"*.txt", "a.txt", true},
      {"*.txt", ".txt", true},
      {"*.txt", "b/a.txt", false},
      {"*", "a/b", false},
      {"**", "a", true},
      {"**", "a/b/c", true},
      {"**/*.xml", "a.xml", true},
      {"**/*.xml", "x/y/a.xml", true},
      {"**/*.xml", "x/y/a.xml/z", false},
      {"a/**/b", "a/b", true},
      {"a/**/b", "a/x/y/b", true},
      {"a/**/b", "a/x/y/c", false},
      {"a/**", "a/x", true},
      {"a**b", "axxb", true},
      {"a**b", "ax/xb", false},
      {"?.c", "x.c", true},
      {"?.c", ".c", false},
      {"a?c", "a/c", false},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[!a-c]x", "dx", true},
      {"[^a-c]x", "ax", false},
      {"[]]", "]", true},
      {"[a", "[a", true},
      {"*.{c,h}", "x.h", true},
      {"*.{c,h}", "x.o", false},
      {"{a,b/{c,d}}/e", "b/d/e", true},
      {"{a,b/{c,d}}/e", "b/e", false},
      {"x{,y}", "x", true},
      {"\\*", "*", true},
      {"\\*", "a", false},
      {"./a/", "a", true},
      {"a//b", "a/b", true},
      {"*a*b*c*", "xxaxxbxxcxx", true},
      {"*a*b*c*", "xxaxxcxxbxx", false},
  };
  for (const auto& row : rows) {
    CAPTURE(row.pattern);
    CAPTURE(row.path);
    const auto glob = Glob::parse(row.pattern);
    REQUIRE(glob);
    CHECK(glob->matches(row.path) == row.matches);
  }
}

TEST_CASE("directories that cannot hold a match are known") {
  const auto glob = Glob::parse("build/**/*.xml");
  REQUIRE(glob);
  CHECK(glob->may_match_below(""));
  CHECK(glob->may_match_below("build"));
  CHECK(glob->may_match_below("build/x/y"));
  CHECK_FALSE(glob->may_match_below("src"));
  const auto flat = Glob::parse("a/b.txt");
  REQUIRE(flat);
  CHECK(flat->may_match_below("a"));
  CHECK_FALSE(flat->may_match_below("a/b.txt"));
  CHECK_FALSE(flat->may_match_below("a/c"));
}

TEST_CASE("patterns that lead out or explode are refused") {
  for (const auto* bad : {"", "/etc/*", "../x", "a/../b", "{a,/etc}", "{a,b", ".", "./"}) {
    CAPTURE(bad);
    CHECK_FALSE(Glob::parse(bad));
  }
  std::string bomb;
  for (int i = 0; i < 30; ++i)
    bomb += "{a,b}";
  CHECK_FALSE(Glob::parse(bomb));
  CHECK_FALSE(Glob::parse(std::string(kMaxPattern + 1, 'a')));
}

TEST_CASE("a pattern of many stars is matched at once") {
  std::string pattern;
  for (int i = 0; i < 200; ++i)
    pattern += "**/*a*/";
  std::string path;
  for (int i = 0; i < 150; ++i)
    path += "aaaaaaaaaab/";
  const auto glob = Glob::parse(pattern + "z");
  REQUIRE(glob);
  CHECK_FALSE(glob->matches(path));
}
