#pragma once
// What stays of a secret in this process's memory: searched for, freed blocks included (ASan's quarantine keeps them as
// they were). The needle is kept reversed, and never whole in the program.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cleanroom::memory_search {

inline std::string reversed(std::string_view first, std::string_view second) {
  std::string out(second.rbegin(), second.rend());
  out.append(first.rbegin(), first.rend());
  return out;
}

// Optimised even in the dev build: it looks at every byte of the process.
__attribute__((no_sanitize("address"), no_sanitize("undefined"), optimize("O2"), noinline)) inline std::size_t count_in(
    std::uintptr_t from, std::uintptr_t to, const char* needle_reversed, std::size_t size) {
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

// In all that this process may write, but for ASan's shadow (terabytes of address space).
inline std::size_t count_in_memory(const std::string& needle_reversed) {
  std::ifstream maps("/proc/self/maps");
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> regions;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    char permissions[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, permissions) != 3) continue;
    if (std::string_view(permissions).starts_with("rw") && to - from <= 256U << 20U) regions.emplace_back(from, to);
  }
  REQUIRE(regions.size() > 5);
  std::size_t found = 0;
  for (const auto& [from, to] : regions)
    found += count_in(from, to, needle_reversed.data(), needle_reversed.size());
  return found;
}

}  // namespace cleanroom::memory_search
