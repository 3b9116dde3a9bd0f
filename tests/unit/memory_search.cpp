#include "tests/unit/memory_search.h"

namespace cleanroom::memory_search {

std::size_t count_in(std::uintptr_t from, std::uintptr_t to, const char* needle_reversed, std::size_t size) {
  std::size_t found = 0;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): addresses from /proc/self/maps
  const auto* const begin = reinterpret_cast<const char*>(from);
  const char first = needle_reversed[size - 1];
  const std::size_t starts = to - from < size ? 0 : to - from - size + 1;
  for (std::size_t at = 0; at < starts; ++at) {
    if (begin[at] != first) continue;
    std::size_t same = 1;
    while (same < size && begin[at + same] == needle_reversed[size - 1 - same])
      ++same;
    if (same == size) ++found;
  }
  return found;
}

}  // namespace cleanroom::memory_search
