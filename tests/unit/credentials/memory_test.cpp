// What stays of a credential in this process's memory: searched for, freed blocks included (ASan's quarantine keeps
// them as they were).
#include "tests/unit/credentials/support.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

using namespace cleanroom;
using namespace cleanroom::credentials;
using namespace cleanroom::credentials::testing;
using namespace std::chrono_literals;

namespace {

// Never whole in this program: the script joins the halves, and the needle is kept reversed.
constexpr const char* kFirst = "canary-0f6d";
constexpr const char* kSecond = "a9e1-b7c4-2d58";
// base64 of "x-access-token:" and both, from the first whole group of three bytes on.
constexpr const char* kEncodedFirst = "Y2FuYXJ5LTBm";
constexpr const char* kEncodedSecond = "NmRhOWUxLWI3YzQtMmQ1OA";

std::string reversed(std::string_view first, std::string_view second) {
  std::string out(second.rbegin(), second.rend());
  out.append(first.rbegin(), first.rend());
  return out;
}

// Optimised even in the dev build: it looks at every byte of the process.
__attribute__((no_sanitize("address"), no_sanitize("undefined"), optimize("O2"), noinline)) std::size_t count_in(
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
std::size_t count_in_memory(const std::string& needle_reversed) {
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

}  // namespace

TEST_CASE("GTW-10 I6 memory holds the header while the broker does, never the bare token, and nothing afterwards") {
  const std::string token = reversed(kFirst, kSecond);
  const std::string header = reversed(kEncodedFirst, kEncodedSecond);
  Fixture f;
  std::string source;
  SUBCASE("command") {
    const auto program = f.write("mint", fmt::format("#!/bin/sh\nprintf %s%s {} {}\n", kFirst, kSecond), 0700);
    source = fmt::format("command: ['{}']", program.string());
  }
  SUBCASE("git-credential") {
    f.write(".gitconfig", fmt::format("[credential]\n\thelper = \"!f() {{ echo username=x-access-token; printf "
                                      "'password=%s%s\\\\n' {} {}; }}; f\"\n",
                                      kFirst, kSecond));
    source = "git-credential: true";
  }
  base::asio::io_context context;
  base::BlockingPool pool(1);
  {
    Broker broker(f.binding_with(source), {}, pool, {.host = f.host()});
    {
      const auto answer = find(context, broker);
      if (!answer) FAIL(answer.error().describe());
      REQUIRE(answer->grant);
      CHECK(count_in_memory(header) == 2);  // the broker's and the grant's
    }
    CHECK(count_in_memory(header) == 1);
    CHECK(count_in_memory(token) == 0);
  }
  CHECK(count_in_memory(header) == 0);
  CHECK(count_in_memory(token) == 0);
}

TEST_CASE("GTW-10 a credential is wiped when its time is over, whether anybody asks again or not") {
  Fixture f;
  const auto program = f.write("mint", fmt::format("#!/bin/sh\nprintf %s%s {} {}\n", kFirst, kSecond), 0700);
  base::asio::io_context context;
  base::BlockingPool pool(1);
  Broker broker(f.binding_with(fmt::format("command: ['{}']", program.string())), {}, pool,
                {.host = f.host(), .hold = 1s});
  REQUIRE(find(context, broker));
  const std::string header = reversed(kEncodedFirst, kEncodedSecond);
  CHECK(count_in_memory(header) == 1);
  context.restart();
  context.run();  // until the loop has no timer left
  CHECK(count_in_memory(header) == 0);
}
