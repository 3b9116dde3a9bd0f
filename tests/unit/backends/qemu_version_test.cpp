#include "src/backends/qemu/qemu_version.h"

#include "tests/unit/capture_binding.h"

#include <doctest/doctest.h>

using namespace cleanroom::backends::qemu;

TEST_SUITE("backends/qemu_version") {
  TEST_CASE("VMM-10 versions without the virtio fix are told from those with it") {
    for (const auto& [text, fixed] : {std::pair{"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n", true},
                                      {"QEMU emulator version 7.2.11", true},
                                      {"QEMU emulator version 7.2.10", false},
                                      {"QEMU emulator version 7.1.99", false},
                                      {"QEMU emulator version 8.2.2 (Ubuntu)", false},
                                      {"QEMU emulator version 8.2.3", true},
                                      {"QEMU emulator version 8.1.50", false},
                                      {"QEMU emulator version 9.0.0", true},
                                      {"QEMU emulator version 10.1.0", true},
                                      {"QEMU emulator version 5.2.0", false}}) {
      CAPTURE_BINDING(text);
      const auto version = parse_qemu_version(text);
      REQUIRE(version.has_value());
      CHECK(has_virtio_fix(*version) == fixed);
    }
  }

  TEST_CASE("what is no version is none") {
    for (const char* text :
         {"", "QEMU emulator version ", "QEMU emulator version 7", "QEMU emulator version 7.2",
          "QEMU emulator version 7.x.1", "Firecracker v1.14.4", "QEMU emulator version 99999999999.1.1"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_qemu_version(text).has_value());
    }
  }
}
