#include "guest/exec_command.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

#include <cerrno>

using namespace cleanroom;

TEST_CASE("a program is found as execvp finds it") {
  const auto temporary = base::TempDir::create("/tmp", "find-");
  REQUIRE(temporary);
  const auto directory = temporary->path().string();
  REQUIRE(base::write_file_atomically(temporary->path() / "tool", "#!/bin/sh\n", 0755));
  REQUIRE(base::write_file_atomically(temporary->path() / "data", "x", 0644));

  CHECK(guest::find_command("tool", "/nowhere:" + directory).value() == directory + "/tool");
  CHECK(guest::find_command(directory + "/tool", "").value() == directory + "/tool");
  CHECK(guest::find_command("nope", directory).error().os_errno == ENOENT);
  CHECK(guest::find_command("", directory).error().os_errno == ENOENT);
  CHECK(guest::find_command("data", directory).error().os_errno == EACCES);
  CHECK(guest::find_command(directory, "").error().os_errno == EACCES);
}
