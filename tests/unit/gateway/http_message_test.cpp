#include "src/gateway/http_message.h"

#include "src/gateway/limits.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace cleanroom::gateway;  // NOLINT(google-build-using-namespace): a test

namespace {

// Feeds `text` in reads of at most `step` bytes: whether its head is accepted.
bool accepts(std::string_view text, std::size_t step) {
  MessageReader reader(MessageKind::response);
  while (!text.empty()) {
    const auto room = reader.prepare();
    REQUIRE_FALSE(room.empty());
    const auto size = std::min({room.size(), text.size(), step});
    std::copy_n(text.begin(), size, room.begin());
    reader.commit(size);
    text.remove_prefix(size);
    const auto whole = reader.read_head();
    if (!whole) return false;
    if (*whole) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("the cap of a head holds for all of it, however it arrives") {
  const std::string start = "HTTP/1.1 200 OK\r\nX: " + std::string(30'000, 'a') + "\r\nY: ";
  for (const std::size_t size : {kMaxHeadBytes - 1, kMaxHeadBytes, kMaxHeadBytes + 1, kMaxHeadBytes + 20'000}) {
    const std::string head = start + std::string(size - start.size() - 4, 'b') + "\r\n\r\n";
    REQUIRE(head.size() == size);
    for (const std::size_t step : {std::size_t{1000}, std::size_t{40'000}, head.size()}) {
      CAPTURE(size);
      CAPTURE(step);
      CHECK(accepts(head, step) == (size <= kMaxHeadBytes));
    }
  }
}
