#include "src/model/wall.h"

#include <doctest/doctest.h>

#include <set>
#include <string_view>

using namespace cleanroom::model;

TEST_SUITE("model/wall") {
  TEST_CASE("each wall has a name of its own, which is read back") {
    std::set<std::string_view> names;
    for (const auto wall : all_walls()) {
      CHECK(parse_wall(to_string(wall)) == wall);
      names.insert(to_string(wall));
    }
    CHECK(names.size() == all_walls().size());
    CHECK(to_string(Wall::cgroup) == "cgroup");
    CHECK_FALSE(parse_wall("moat"));
  }
}
