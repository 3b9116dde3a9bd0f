#include "src/backends/identity.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::backends;

TEST_SUITE("backends/identity") {
  TEST_CASE("VMM-12 only a processor with VT-x or AMD-V counts as one that KVM isolates with") {
    CHECK(has_virtualisation("vendor_id\t: X\nflags\t\t: fpu vme svm sse\n"));
    CHECK(has_virtualisation("vendor_id\t: X\nflags\t\t: fpu vme sse vmx\n"));
    CHECK(has_virtualisation("vendor_id\t: X\nflags\t\t: fpu vmx"));
    for (const char* without : {"", "vendor_id\t: svm vmx\nflags\t\t: fpu sse\n", "a\nflags\t\t: fpu svm_lock vmxx\n",
                                "model name\t: vmx \n"}) {
      CAPTURE(without);
      CHECK_FALSE(has_virtualisation(without));
    }
  }

  TEST_CASE("WRM-07 the processor's identity is the same at each look, and names its features") {
    const auto first = processor_identity().value();
    CHECK(processor_identity().value() == first);
    CHECK(first.find("flags") != std::string::npos);
    CHECK(first.find("MHz") == std::string::npos);
  }

  TEST_CASE("WRM-07 a file that was replaced by an equal one is another file") {
    const auto directory = base::TempDir::create("/tmp", "cleanroom-test-").value();
    const auto file = directory.path() / "kernel";
    REQUIRE(base::write_file_atomically(file, "same").has_value());
    const auto before = file_identity(file).value();
    CHECK(file_identity(file).value() == before);
    REQUIRE(base::write_file_atomically(file, "same").has_value());
    CHECK(file_identity(file).value() != before);
    CHECK_FALSE(file_identity(directory.path() / "none").has_value());
  }
}
