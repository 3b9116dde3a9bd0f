#include "src/base/text/did_you_mean.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace cleanroom::base {
namespace {

TEST_SUITE("base/text/did_you_mean") {
  TEST_CASE("edits are insertions, deletions, replacements and swaps") {
    CHECK(edit_distance("allow", "allow") == 0);
    CHECK(edit_distance("alow", "allow") == 1);
    CHECK(edit_distance("alolw", "allow") == 1);
    CHECK(edit_distance("", "abc") == 3);
    CHECK(edit_distance("kitten", "sitting") == 3);
    CHECK(edit_distance(std::string(100'000, 'a'), std::string(100'000, 'b')) == 64);
  }

  TEST_CASE("a slip finds its word, another word finds nothing") {
    const std::vector<std::string> known = {"allow", "default", "deny", "ech", "memory_mib"};
    CHECK(did_you_mean("alow", known) == "allow");
    CHECK(did_you_mean("Allow", known) == "allow");
    CHECK(did_you_mean("defualt", known) == "default");
    CHECK(did_you_mean("memory_mb", known) == "memory_mib");
    CHECK_FALSE(did_you_mean("network", known));
    CHECK_FALSE(did_you_mean("xyz", known));
  }
}

}  // namespace
}  // namespace cleanroom::base
