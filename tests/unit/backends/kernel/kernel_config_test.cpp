#include "src/backends/kernel/kernel_config.h"

#include "src/backends/kernel/bundled_files.h"
#include "tests/unit/capture_binding.h"

#include <doctest/doctest.h>

using namespace cleanroom::backends;
using Lines = std::vector<std::string>;

TEST_SUITE("backends/kernel/kernel_config") {
  TEST_CASE("lines of the fragment that the configuration lost are told") {
    const std::string_view config =
        "# comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_NAME=\"x\"\nCONFIG_COUNT=64\nCONFIG_LAST=y";
    struct Case {
      const char* fragment;
      Lines dropped;
    };
    const Case cases[] = {
        {"CONFIG_A=y\nCONFIG_NAME=\"x\"\nCONFIG_COUNT=64\nCONFIG_LAST=y\n", {}},
        {"# CONFIG_Z=y\n\nCONFIG_B=n\nCONFIG_UNKNOWN=n\n", {}},
        {"CONFIG_B=y\n", {"CONFIG_B=y"}},
        {"CONFIG_A=n\n", {"CONFIG_A=n"}},
        {"CONFIG_COUNT=6\n", {"CONFIG_COUNT=6"}},
        {"CONFIG_A=m\nCONFIG_A=y", {"CONFIG_A=m"}},
        {"CONFIG_COUN=64\n", {"CONFIG_COUN=64"}},
        {"A=y\nCONFIG_A\n", {"A=y", "CONFIG_A"}},
    };
    for (const auto& [fragment, dropped] : cases) {
      CAPTURE_BINDING(fragment);
      CHECK(dropped_options(fragment, config) == dropped);
    }
  }

  TEST_CASE("an option's value is what stands after its whole name") {
    CHECK(option_value("CONFIG_HZ_100=y\nCONFIG_HZ=100\n", "HZ") == "100");
    CHECK(option_value("CONFIG_HZ_100=y\n# CONFIG_HZ is not set\n", "HZ").empty());
  }

  TEST_CASE("an option is set only when it is y") {
    CHECK(has_option("CONFIG_PVH=y\n", "PVH"));
    CHECK_FALSE(has_option("CONFIG_PVH=n\nCONFIG_PVHX=y\n# CONFIG_PVH is not set\n", "PVH"));
  }

  TEST_CASE("the fragment in the program asks for what the backends need of a built kernel") {
    const auto fragment = kernel_fragment();
    CHECK(has_option(fragment, "VIRTIO_MMIO_CMDLINE_DEVICES"));
    CHECK(has_option(fragment, "PVH"));
    CHECK_FALSE(has_option(fragment, "MODULES"));
  }
}
