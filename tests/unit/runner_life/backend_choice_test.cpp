#include "src/runner/backend_choice.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::runner;

namespace {

// A host with a program of ours as Firecracker, which says that version and can do nothing else.
struct Host {
  base::TempDir root = base::TempDir::create("/tmp", "cleanroom-test-").value();
  base::asio::io_context context;
  policy::OperatorConfig config;

  explicit Host(const std::string& version) {
    const auto path = root.path() / "firecracker";
    REQUIRE(base::write_file_atomically(path, "#!/bin/sh\necho 'Firecracker v" + version + "'\n", 0755).has_value());
    config.firecracker.binary_path = path;
  }
  base::Result<std::unique_ptr<backends::Backend>> choose(const std::string& name) {
    return choose_backend(context.get_executor(), name, config, root.path() / "probes");
  }
};

}  // namespace

TEST_SUITE("runner/backend_choice") {
  TEST_CASE("VMM-10 a Firecracker with known holes is refused by name, and auto goes past it") {
    Host host("1.15.0");
    for (const bool by_default : {false, true}) {
      host.config.default_backend = by_default ? "firecracker" : "auto";
      const auto chosen = host.choose(by_default ? "auto" : "firecracker");
      REQUIRE_FALSE(chosen.has_value());
      CHECK(chosen.error().reason == "vmm_unavailable");
      CHECK(chosen.error().message.find("1.15.0") != std::string::npos);
    }
    host.config.default_backend = "auto";
    const auto any = host.choose("auto");
    REQUIRE(any.has_value());
    CHECK((*any)->capabilities().name == "qemu");
  }

  TEST_CASE("one that is not there is refused by name, with what to do") {
    Host host("1.16.0");
    host.config.firecracker.binary_path = "/no/such/firecracker";
    const auto chosen = host.choose("firecracker");
    REQUIRE_FALSE(chosen.has_value());
    CHECK(chosen.error().reason == "vmm_unavailable");
    CHECK(chosen.error().hint.find("backends.firecracker.binary_path") != std::string::npos);
  }

  TEST_CASE("VMM-12 a good Firecracker is used with KVM or refused without, never replaced by emulation") {
    Host host("1.16.0");
    const auto chosen = host.choose("firecracker");
    if (chosen) {
      CHECK((*chosen)->capabilities().name == "firecracker");
      CHECK((*chosen)->capabilities().accelerator == backends::Accelerator::kvm);
      CHECK((*chosen)->capabilities().vmm_version == "1.16.0");
    } else {
      CHECK(chosen.error().reason == "backend_capability_mismatch");
      CHECK(chosen.error().message.find("KVM") != std::string::npos);
    }
    CHECK(host.choose("qemu").value()->capabilities().name == "qemu");
  }
}
