#include "src/backends/jail/shared_objects.h"

#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <algorithm>

using namespace cleanroom;
using backends::jail::shared_objects_of;

TEST_SUITE("backends/jail/shared_objects") {
  TEST_CASE("a program's loader and libraries are found, and kept") {
    const auto directory = base::TempDir::create("/tmp", "cleanroom-test-").value();
    const auto cache = directory.path() / "cache";
    const auto first = shared_objects_of("/bin/sh", cache);
    REQUIRE(first);
    const auto has = [&](std::string_view name) {
      return std::any_of(first->begin(), first->end(), [&](const auto& path) { return path.filename() == name; });
    };
    CHECK(has("libc.so.6"));
    CHECK(first->front().native().find("/ld-") != std::string::npos);
    REQUIRE(std::distance(std::filesystem::directory_iterator(cache), {}) == 1);
    const auto kept = std::filesystem::directory_iterator(cache)->path();
    CHECK(shared_objects_of("/bin/sh", cache).value() == *first);
    SUBCASE("what was kept counts while all of it is there") {
      CHECK(base::write_all(base::open_file(kept, O_WRONLY | O_TRUNC).value(), "/bin/sh\n"));
      CHECK(shared_objects_of("/bin/sh", cache).value() == std::vector<std::filesystem::path>{"/bin/sh"});
    }
    SUBCASE("a library that is gone, or half a list, is asked for again") {
      CHECK(base::write_all(base::open_file(kept, O_WRONLY | O_TRUNC).value(), "/no/such/lib.so\n"));
      CHECK(shared_objects_of("/bin/sh", cache).value() == *first);
      CHECK(base::write_all(base::open_file(kept, O_WRONLY | O_TRUNC).value(), "/bin"));
      CHECK(shared_objects_of("/bin/sh", cache).value() == *first);
    }
  }

  TEST_CASE("a static program needs nothing; a script is no program") {
    CHECK(shared_objects_of(JAIL_STUB, {}).value().empty());
    const auto directory = base::TempDir::create("/tmp", "cleanroom-test-").value();
    const auto script = directory.path() / "qemu";
    CHECK(base::write_all(base::open_file(script, O_WRONLY | O_CREAT, 0700).value(),
                          "#!/bin/sh\n" + std::string(99, ' ')));
    const auto refused = shared_objects_of(script, {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("no 64-bit ELF program") != std::string::npos);
  }
}
