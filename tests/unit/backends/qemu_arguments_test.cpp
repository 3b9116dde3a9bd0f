#include "src/backends/qemu/qemu_arguments.h"

#include "src/backends/identity.h"
#include "src/backends/qemu/host_ticks.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

using namespace cleanroom::backends;
using namespace cleanroom::backends::qemu;

namespace {

QemuMachine machine(Accelerator accelerator) {
  return {.binary = "/usr/bin/qemu-system-x86_64",
          .accelerator = accelerator,
          .kernel = "/k/vmlinuz",
          .initramfs = "/i.cpio",
          .vcpus = 3,
          .memory_mib = 768,
          .disks_read_only = {true, false}};
}

// The value after an option; every occurrence.
std::vector<std::string> values_of(const std::vector<std::string>& arguments, const std::string& option) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == option) values.push_back(arguments[i + 1]);
  }
  return values;
}

bool has(const std::vector<std::string>& arguments, const std::string& argument) {
  return std::find(arguments.begin(), arguments.end(), argument) != arguments.end();
}

}  // namespace

TEST_SUITE("backends/qemu_arguments") {
  TEST_CASE("VMM-08 QEMU is confined, and has no monitor, network, USB, display or shared filesystem") {
    const auto arguments = qemu_arguments(machine(Accelerator::kvm), {});
    CHECK(values_of(arguments, "-sandbox") ==
          std::vector<std::string>{"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
    CHECK(has(arguments, "-nodefaults"));
    CHECK(has(arguments, "-no-user-config"));
    CHECK(values_of(arguments, "-M").front().starts_with("microvm,"));
    for (const char* absent : {"-monitor", "-qmp", "-mon", "-net", "-netdev", "-nic", "-usb", "-vga", "-fsdev",
                               "-virtfs", "-incoming", "-gdb", "-s", "-loadvm"}) {
      CAPTURE(absent);
      CHECK_FALSE(has(arguments, absent));
    }
  }

  TEST_CASE("a kernel that finds its devices on the command line boots without ACPI") {
    auto spec = machine(Accelerator::tcg);
    CHECK(values_of(qemu_arguments(spec, {}), "-M").front().starts_with("microvm,acpi=on,"));
    spec.discovery = DeviceDiscovery::command_line;
    CHECK(values_of(qemu_arguments(spec, {}), "-M").front().starts_with("microvm,acpi=off,"));
  }

  TEST_CASE("an emulated kernel whose tick is known is told how long a delay loop takes; no other is") {
    auto spec = machine(Accelerator::tcg);
    spec.tick_khz = 2'600'000;
    const auto told = [](const QemuMachine& of) {
      return values_of(qemu_arguments(of, {}), "-append").front().find(" lpj=26000000") != std::string::npos;
    };
    CHECK_FALSE(told(spec));
    spec.tick_hz = 100;
    CHECK(told(spec));
    spec.accelerator = Accelerator::kvm;
    CHECK(values_of(qemu_arguments(spec, {}), "-append").front().find("lpj=") == std::string::npos);
  }

  TEST_CASE("EGR-01 RLY-13 every device is one of a short list") {
    const auto devices = values_of(qemu_arguments(machine(Accelerator::tcg), {}), "-device");
    CHECK(devices.size() == 6);
    for (const auto& device : devices) {
      const auto kind = device.substr(0, device.find(','));
      CAPTURE(device);
      CHECK((kind == "virtio-rng-device" || kind == "virtio-serial-device" || kind == "virtserialport" ||
             kind == "virtio-blk-device"));
    }
  }

  TEST_CASE("an emulated VM is told the rate of its time stamp counter, and the rate is the host's") {
    auto emulated = machine(Accelerator::tcg);
    emulated.tick_khz = 2'600'000;
    CHECK(values_of(qemu_arguments(emulated, {}), "-append")
              .front()
              .find("tsc_early_khz=2600000 tsc=reliable no_timer_check") != std::string::npos);
    CHECK(values_of(qemu_arguments(machine(Accelerator::kvm), {}), "-append").front().find("tsc") == std::string::npos);
    const auto first = HostTicks({}).khz();
    const auto second = HostTicks({}).khz();
    CHECK(first > 100'000);
    CHECK(std::max(first, second) - std::min(first, second) < first / 50);
  }

  TEST_CASE("in one boot of the host all have one rate, but a rate that this host cannot have is measured again") {
    const auto directory =
        std::move(*cleanroom::base::TempDir::create(std::filesystem::temp_directory_path(), "cleanroom-test-"));
    const auto rate = HostTicks(directory.path()).khz();
    const auto file = directory.path() / "tsc-khz";
    const auto put = [&](const std::string& text) { std::ofstream(file, std::ios::trunc) << text; };
    const auto boot = boot_identity().value() + " ";
    put(boot + std::to_string(rate + 1));
    CHECK(HostTicks(directory.path()).khz() == rate + 1);
    const std::string another_boot = "00000000-0000-0000-0000-000000000000 " + std::to_string(rate + 1);
    for (const auto& bad : {boot + std::to_string(rate * 2), boot + std::to_string(rate / 2), boot, boot + "x1",
                            std::string{}, another_boot}) {
      CAPTURE(bad);
      put(bad);
      const auto measured = HostTicks(directory.path()).khz();
      CHECK(measured > rate / 100 * 99);
      CHECK(measured < rate / 100 * 101);
      CHECK(HostTicks(directory.path()).khz() == measured);
      CHECK(cleanroom::base::read_file(file, 128).value() == boot + std::to_string(measured));
    }
  }

  TEST_CASE(
      "an emulated guest has one place for all processes' programs, unless the operator wants ASLR; others never") {
    auto spec = machine(Accelerator::tcg);
    const auto fixed = [&] {
      return values_of(qemu_arguments(spec, {}), "-append").front().find("norandmaps") != std::string::npos;
    };
    CHECK(fixed());
    spec.emulated_aslr = true;
    CHECK_FALSE(fixed());
    spec = machine(Accelerator::kvm);
    CHECK_FALSE(fixed());
  }

  TEST_CASE("a VM that is to be saved is told so; a restored one gets no kernel, and no other is told") {
    auto spec = machine(Accelerator::tcg);
    const auto is_told = [&] {
      return values_of(qemu_arguments(spec, {}), "-append").front().ends_with(" cleanroom.template");
    };
    CHECK_FALSE(is_told());
    spec.snapshot = QemuSnapshot{QemuSnapshot::Use::save, "/memory"};
    CHECK(is_told());
    spec.snapshot->use = QemuSnapshot::Use::restore;
    CHECK(values_of(qemu_arguments(spec, {}), "-append").empty());
  }

  TEST_CASE("disks are raw, come by descriptor, and the image is read-only") {
    const auto arguments = qemu_arguments(machine(Accelerator::tcg), {});
    const auto blocks = values_of(arguments, "-blockdev");
    REQUIRE(blocks.size() == 2);
    for (const auto& block : blocks)
      CHECK(block.starts_with("driver=raw,"));
    CHECK(blocks[0].find("read-only=on") != std::string::npos);
    CHECK(blocks[1].find("read-only=off") != std::string::npos);
    CHECK(values_of(arguments, "-add-fd") == std::vector<std::string>{"fd=10,set=0", "fd=11,set=1"});
  }

  TEST_CASE("the accelerator decides the CPU, and the sizes are passed on") {
    const auto kvm = qemu_arguments(machine(Accelerator::kvm), {});
    CHECK(values_of(kvm, "-accel") == std::vector<std::string>{"kvm"});
    CHECK(values_of(kvm, "-cpu") == std::vector<std::string>{"host"});
    const auto tcg = qemu_arguments(machine(Accelerator::tcg), {});
    CHECK(values_of(tcg, "-accel").front().starts_with("tcg"));
    CHECK(values_of(tcg, "-cpu") == std::vector<std::string>{"max,erms=off,la57=off,smap=off"});
    CHECK(values_of(tcg, "-smp") == std::vector<std::string>{"3"});
    CHECK(values_of(tcg, "-m") == std::vector<std::string>{"768M"});
  }
}
