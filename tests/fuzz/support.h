#pragma once
// What the fuzz targets share: a check that stays in an optimised build, bytes in the types that our readers take, and
// the ways in which a stream may be cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <string_view>

// Ends the process when a property does not hold; libFuzzer then keeps the input.
#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

namespace cleanroom::fuzz {

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

enum class Cut { nowhere, everywhere, somewhere };
// A long input is cut into single bytes only towards its end, where the caps are.
inline constexpr std::size_t kSlowAbove = 4096;
inline constexpr Cut kCuts[] = {Cut::nowhere, Cut::everywhere, Cut::somewhere};

// Calls feed(piece) for one piece after another until it returns false. `somewhere` depends on the bytes alone, so that
// an input stays a plain file (a ClientHello, a request) and a crash can be replayed.
template <class Feed>
void feed_in_pieces(std::string_view bytes, Cut cut, Feed feed) {
  std::minstd_rand random(static_cast<unsigned>(std::hash<std::string_view>()(bytes)));
  constexpr std::size_t kLongest[] = {4, 40, 400};
  const std::size_t longest = kLongest[random() % std::size(kLongest)];
  while (!bytes.empty()) {
    std::size_t size = bytes.size();
    if (cut == Cut::everywhere) size = 1 + bytes.size() / kSlowAbove;
    if (cut == Cut::somewhere) size = std::min<std::size_t>(size, 1 + random() % longest);
    if (!feed(bytes.substr(0, size))) return;
    bytes.remove_prefix(size);
  }
}

// An input of a few bytes that stands for one that reaches a cap: 0xff and n repeat the byte before them 16 * n times
// more.
inline std::string unroll(std::string_view input) {
  std::string out;
  for (std::size_t i = 0; i < input.size(); ++i) {
    if (input[i] == '\xff' && i + 1 < input.size() && !out.empty())
      out.append(std::size_t{16} * static_cast<std::uint8_t>(input[++i]), out.back());
    else
      out += input[i];
  }
  return out;
}

}  // namespace cleanroom::fuzz
