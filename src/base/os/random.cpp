#include "src/base/os/random.h"

#include "src/base/os/check.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace cleanroom::base {

void fill_random(std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t n = ::getrandom(into.data(), into.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    CR_CHECK(n > 0, "getrandom: {}", std::strerror(errno));
    into = into.subspan(static_cast<std::size_t>(n));
  }
}

std::string random_hex(std::size_t byte_count) {
  std::vector<std::byte> bytes(byte_count);
  fill_random(bytes);
  std::string text;
  for (const auto byte : bytes)
    text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

}  // namespace cleanroom::base
