// What stays of a login in this process's memory once it has gone.
#include "src/base/os/process.h"
#include "src/registry/docker_config.h"
#include "tests/unit/memory_search.h"
#include "tests/unit/registry/support.h"

using namespace cleanroom;
using namespace cleanroom::registry;
using namespace cleanroom::registry::testing;
using namespace cleanroom::memory_search;

namespace {

constexpr const char* kFirst = "canary-0f6d";
constexpr const char* kSecond = "a9e1-b7c4-2d58";
// Long, since ASan writes into the first bytes of a block that is freed.
constexpr const char* kUser = "robert-the-builder-1";
// base64 of the user and a colon; of both halves.
constexpr const char* kEncodedUser = "cm9iZXJ0LXRoZS1idWlsZGVyLTE6";
constexpr const char* kEncodedFirst = "Y2FuYXJ5LTBm";
constexpr const char* kEncodedSecond = "NmRhOWUxLWI3YzQtMmQ1OA";

// Writes the file in a child, whose memory is not searched.
void write_apart(const Fixture& f, const std::string& printf_arguments) {
  const auto path = (f.dir.path() / "config.json").string();
  const auto done = base::run_process(
      {.argv = {"/bin/sh", "-c", "umask 077; printf " + printf_arguments + " > \"$0\"", path}, .environment = {}},
      base::deadline_in(std::chrono::seconds(20)));
  REQUIRE(done);
  REQUIRE(done->status.success());
}

}  // namespace

TEST_CASE("GTW-10 I6 memory holds a login while its owner does, and nothing of its file or helper afterwards") {
  const std::string plain = reversed(kFirst, kSecond);
  const std::string encoded = reversed(kEncodedFirst, kEncodedSecond);
  Fixture f;
  DockerConfigOptions options{.files = {f.dir.path() / "config.json"},
                              .program_path = f.dir.path().string(),
                              .environment = {"PATH=/usr/bin:/bin"},
                              .user = ::geteuid()};
  SUBCASE("a file's auth") {
    write_apart(f, fmt::format(R"('{{"auths":{{"r.test":{{"auth":"{}%s%s=="}}}}}}' {} {})", kEncodedUser, kEncodedFirst,
                               kEncodedSecond));
  }
  SUBCASE("a helper's secret") {
    f.write(
        "docker-credential-x",
        fmt::format("#!/bin/sh\nprintf '{{\"Username\":\"{}\",\"Secret\":\"%s%s\"}}' {} {}\n", kUser, kFirst, kSecond),
        0700);
    f.write("config.json", R"({"credsStore":"x"})");
  }
  {
    DockerConfigLogins logins(options);
    auto found = logins.find("r.test", "acme/web");
    if (!found) FAIL(found.error().describe());
    REQUIRE(*found);
    CHECK(count_in_memory(plain) == 1);
    CHECK(count_in_memory(encoded) == 0);
  }
  CHECK(count_in_memory(plain) == 0);
  CHECK(count_in_memory(encoded) == 0);
}
