// Programs and files that hold secrets, base64, and core dumps.
#include "src/base/os/secret_io.h"

#include "src/base/net/base64.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

using namespace cleanroom::base;
using namespace std::chrono_literals;

namespace {

Result<SecretOutput> shell(const std::string& script, std::string_view input = "",
                           std::chrono::milliseconds limit = 20s) {
  return run_for_secret({.argv = {"/bin/sh", "-c", script}, .environment = {"A=b"}}, input, deadline_in(limit), 100);
}

}  // namespace

TEST_CASE("a program's output is a secret, its input is given, its environment is the listed one") {
  const auto done = shell("printf \"$A:\"; cat; echo noise >&2; exit 3", "one\n\ntwo");
  REQUIRE(done);
  CHECK(done->output.reveal() == "b:one\n\ntwo");
  CHECK(done->status.code == 3);
}

TEST_CASE("output at the cap is taken, one byte more is refused") {
  const auto most = shell("head -c 100 /dev/zero | tr '\\0' x");
  REQUIRE(most);
  CHECK(most->output.size() == 100);
  const auto more = shell("head -c 101 /dev/zero | tr '\\0' x; exec cat /dev/zero");
  REQUIRE_FALSE(more);
  CHECK(more.error().code == Code::invalid_input);
}

TEST_CASE("a program that runs on is stopped at the deadline; one whose child keeps the pipe is not waited for") {
  const auto late = shell("exec sleep 600", "", 100ms);
  REQUIRE_FALSE(late);
  CHECK(late.error().code == Code::timeout);
  const auto done = shell("sleep 600 & echo token");
  REQUIRE(done);
  CHECK(done->output.reveal() == "token\n");
}

TEST_CASE("a secret file is read whole or refused") {
  const auto dir = *TempDir::create(std::filesystem::temp_directory_path(), "secret");
  const auto path = dir.path() / "token";
  std::ofstream(path) << std::string(50, 's');
  const auto fd = open_file(path, O_RDONLY);
  REQUIRE(fd);
  CHECK_FALSE(read_secret(*fd, "token", 49));
  const auto again = open_file(path, O_RDONLY);
  const auto text = read_secret(*again, "token", 50);
  REQUIRE(text);
  CHECK(text->reveal() == std::string(50, 's'));
}

TEST_CASE("base64: the vectors of RFC 4648 section 10") {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : vectors) {
    std::string text = "> ";
    append_base64(text, plain);
    CHECK(text == std::string("> ") + encoded);
    CHECK(base64_size(std::string_view(plain).size()) == std::string_view(encoded).size());
    const auto decoded = decode_base64(encoded);
    REQUIRE(decoded);
    CHECK(decoded->reveal() == plain);
  }
}

TEST_CASE("GTW-10 no core dumps, and what the process needs of /proc/self still works") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // As root nothing of /proc is ever refused.
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(10);
    if (!forbid_core_dumps()) ::_exit(11);
    rlimit limit{1, 1};
    if (::getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_cur != 0 || limit.rlim_max != 0) ::_exit(12);
    if (::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) ::_exit(13);
    char exe[4096];
    if (::readlink("/proc/self/exe", exe, sizeof exe) <= 0) ::_exit(14);
    const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC) < 0) ::_exit(15);
    if (::open("/proc/self/maps", O_RDONLY | O_CLOEXEC) < 0) ::_exit(16);
    if (::open("/proc/self/environ", O_RDONLY | O_CLOEXEC) >= 0) ::_exit(17);
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("base64: what is not of the alphabet, or not padded as it should be, is nothing") {
  for (const char* text : {"Zg", "Zg=", "Zg===", "Z===", "====", "=", "Zm9v=", "Zm9vYg==Zg==", "Zm 9v", " Zm9v",
                           "Zm9v\n", "Zm9v\nZm9v", "Zm-_", "Zm=v", "Z=9v", "Zm9v\x80"}) {
    CAPTURE(std::string(text));
    CHECK_FALSE(decode_base64(text));
  }
  std::string all;
  for (int i = 0; i < 256; ++i)
    all += static_cast<char>(i);
  std::string encoded;
  append_base64(encoded, all);
  CHECK(decode_base64(encoded)->reveal() == all);
}
