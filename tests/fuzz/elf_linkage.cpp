// What the agent reads ahead of an image's shell: whatever the image has in its place, names come from inside the file,
// and no more than their bounds.
#include "guest/image_warmup.h"
#include "tests/fuzz/support.h"

#include <algorithm>

using namespace cleanroom;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = fuzz::as_text(data, size);
  const auto linked = guest::read_linkage(std::as_bytes(std::span(data, size)));
  if (!linked) return 0;
  FUZZ_CHECK(linked->libraries.size() <= 512);
  auto names = linked->libraries;
  names.push_back(linked->loader);
  for (const auto& name : names) {
    FUZZ_CHECK(name.size() < 256);
    FUZZ_CHECK(name.find('\0') == std::string::npos);
    FUZZ_CHECK(input.find(name) != std::string_view::npos);
  }
  return 0;
}
