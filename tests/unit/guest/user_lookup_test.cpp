#include "guest/user_lookup.h"

#include <doctest/doctest.h>

using namespace cleanroom::guest;

namespace {
constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/bash\n"
    "broken:line\n"
    "app:x:1000:1001:App:/home/app:/bin/sh\n"
    "42:x:4200:4200::/home/number:/bin/sh\n"
    "bad:x:abc:1:::\n";
constexpr std::string_view kGroup =
    "root:x:0:\n"
    "app:x:1001:\n"
    "docker:x:999:other,app\n"
    "audio:x:29:app\n"
    "apple:x:30:apples\n";
}  // namespace

TEST_CASE("users are resolved as Docker does") {
  const auto empty = resolve_user("", kPasswd, kGroup);
  REQUIRE(empty);
  CHECK(empty->uid == 0);
  CHECK(empty->home == "/root");

  const auto app = resolve_user("app", kPasswd, kGroup);
  REQUIRE(app);
  CHECK(app->uid == 1000);
  CHECK(app->gid == 1001);
  CHECK(app->groups == std::vector<gid_t>{999, 29});
  CHECK(app->home == "/home/app");

  const auto by_number = resolve_user("1000", kPasswd, kGroup);
  REQUIRE(by_number);
  CHECK(by_number->name == "app");
  CHECK(by_number->groups.size() == 2);

  const auto with_group = resolve_user("app:docker", kPasswd, kGroup);
  REQUIRE(with_group);
  CHECK(with_group->gid == 999);
  CHECK(with_group->groups.empty());

  const auto unknown = resolve_user("1234:77", kPasswd, kGroup);
  REQUIRE(unknown);
  CHECK(unknown->uid == 1234);
  CHECK(unknown->gid == 77);
  CHECK(unknown->home == "/");

  CHECK(resolve_user("1234", kPasswd, kGroup)->gid == 0);
  CHECK(resolve_user("42", kPasswd, kGroup)->uid == 4200);  // a name that looks like a number
}

TEST_CASE("an image without user files has its root") {
  const auto root = resolve_user("", "", "");
  REQUIRE(root);
  CHECK(root->uid == 0);
  CHECK(root->gid == 0);
}

TEST_CASE("what cannot be resolved is refused") {
  for (const auto* bad : {"nobody", "app:nope", "-1", "4294967295", "4294967296", "1 ", "bad", ":app"}) {
    CAPTURE(bad);
    CHECK_FALSE(resolve_user(bad, kPasswd, kGroup));
  }
}
