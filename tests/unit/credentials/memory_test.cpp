// What stays of a credential in this process's memory: searched for, freed blocks included (ASan's quarantine keeps
// them as they were).
#include "tests/unit/credentials/support.h"
#include "tests/unit/memory_search.h"

using namespace cleanroom;
using namespace cleanroom::credentials;
using namespace cleanroom::credentials::testing;
using namespace cleanroom::memory_search;
using namespace std::chrono_literals;

namespace {

// Never whole in this program: the script joins the halves, and the needle is kept reversed.
constexpr const char* kFirst = "canary-0f6d";
constexpr const char* kSecond = "a9e1-b7c4-2d58";
// base64 of "x-access-token:" and both, from the first whole group of three bytes on.
constexpr const char* kEncodedFirst = "Y2FuYXJ5LTBm";
constexpr const char* kEncodedSecond = "NmRhOWUxLWI3YzQtMmQ1OA";

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
