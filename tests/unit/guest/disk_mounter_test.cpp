#include "guest/disk_mounter.h"

#include <doctest/doctest.h>

using namespace cleanroom;

TEST_SUITE("guest/disk_mounter") {
  TEST_CASE("mounts come through as they were") {
    const std::vector<channel::DiskMount> mounts = {{.slot = 2, .path = "/workspace", .read_only = 0},
                                                    {.slot = 255, .path = "/with space\n", .read_only = 1},
                                                    {.slot = 0, .path = "", .read_only = 1}};
    const auto decoded = guest::decode_mounts(guest::encode_mounts(mounts)).value();
    REQUIRE(decoded.size() == mounts.size());
    for (std::size_t i = 0; i < mounts.size(); ++i) {
      CHECK(decoded[i].slot == mounts[i].slot);
      CHECK(decoded[i].path == mounts[i].path);
      CHECK(decoded[i].read_only == mounts[i].read_only);
    }
    CHECK(guest::decode_mounts("")->empty());
  }

  TEST_CASE("what is cut off is refused") {
    const auto whole = guest::encode_mounts({{.slot = 2, .path = "/workspace"}, {.slot = 3, .path = "/cache"}});
    const auto first = guest::encode_mounts({{.slot = 2, .path = "/workspace"}}).size();
    for (std::size_t size = 1; size < whole.size(); ++size) {
      CAPTURE(size);
      CHECK(guest::decode_mounts(std::string_view(whole).substr(0, size)).has_value() == (size == first));
    }
  }
}
