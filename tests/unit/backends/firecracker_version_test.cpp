#include "src/backends/firecracker/version.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"
#include "tests/unit/capture_binding.h"

#include <doctest/doctest.h>

#include <filesystem>

using namespace cleanroom;
using namespace cleanroom::backends::firecracker;

namespace {

struct Program {
  base::TempDir root = base::TempDir::create("/tmp", "cleanroom-test-").value();
  std::filesystem::path path = root.path() / "firecracker";
  std::filesystem::path cache = root.path() / "cache";

  explicit Program(const std::string& script) {
    REQUIRE(base::write_file_atomically(path, "#!/bin/sh\n" + script, 0755).has_value());
  }
};

}  // namespace

TEST_SUITE("backends/firecracker_version") {
  TEST_CASE("what --version prints, with what follows it") {
    const auto version = parse_version("Firecracker v1.17.0-dev\n\n2026-01-01 [anonymous] exiting\n");
    REQUIRE(version.has_value());
    CHECK(version->minor == 17);
    CHECK(version->text == "1.17.0-dev");
  }

  TEST_CASE("anything else is no version") {
    for (const char* text : {"", "firecracker v1.14.4", "Firecracker 1.14.4", "Firecracker v", "Firecracker v1.14",
                             "Firecracker v1.14.x", "Firecracker v1.14.4.5", "Firecracker v99999999999.1.1",
                             "Firecracker v1.14.4\x1b[2J", "Firecracker v1.14.4-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_version(text).has_value());
    }
  }

  TEST_CASE("VMM-10 a Firecracker with known holes is refused, by line of releases") {
    for (const auto& [text, good] : {std::pair{"0.25.2", false},
                                     {"1.7.0", false},
                                     {"1.13.9", false},
                                     {"1.14.3", false},
                                     {"1.14.4", true},
                                     {"1.14.9", true},
                                     {"1.15.0", false},
                                     {"1.15.1", true},
                                     {"1.16.0", true},
                                     {"1.17.0-dev", true},
                                     {"2.0.0", true}}) {
      CAPTURE_BINDING(text);
      const auto checked = check_version(parse_version(std::string("Firecracker v") + text).value());
      CHECK(checked.has_value() == good);
      if (!good) CHECK(checked.error().reason == "vmm_unavailable");
      if (!good) CHECK(checked.error().message.find(text) != std::string::npos);
    }
  }

  TEST_CASE("a program is asked once, and again when it is another") {
    const Program program("echo x >>\"$0.asked\"; echo 'Firecracker v1.16.0'\n");
    for (int i = 0; i < 3; ++i)
      CHECK(program_version(program.path, program.cache)->text == "1.16.0");
    CHECK(std::filesystem::file_size(program.path.native() + ".asked") == 2);
    REQUIRE(base::write_file_atomically(program.path, "#!/bin/sh\necho 'Firecracker v1.14.3'\n", 0755).has_value());
    CHECK(program_version(program.path, program.cache)->text == "1.14.3");
  }

  TEST_CASE("a program that fails or says something else is one error that names it") {
    for (const char* script : {"exit 3\n", "echo hello\n", "head -c 1000000 /dev/zero\n"}) {
      CAPTURE(script);
      const Program program(script);
      const auto version = program_version(program.path, program.cache);
      REQUIRE_FALSE(version.has_value());
      CHECK(version.error().reason == "vmm_unavailable");
      CHECK(version.error().message.find(program.path.native()) != std::string::npos);
      CHECK_FALSE(version.error().hint.empty());
    }
  }
}
