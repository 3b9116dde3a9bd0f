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

// In [from, to), whatever sanitizers think of it.
std::size_t count_in(std::uintptr_t from, std::uintptr_t to, const char* needle_reversed, std::size_t size);

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
