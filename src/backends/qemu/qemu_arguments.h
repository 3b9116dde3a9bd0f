#pragma once
// The QEMU command line, as a pure function. What is not in it does not exist in the VM: no network device, no shared
// filesystem, no USB, no display, no PCI, and no monitor but a template's. QEMU's own sandbox forbids it to start
// programs or gain rights. QEMU options: https://www.qemu.org/docs/master/system/invocation.html, microvm:
// system/i386/microvm.html
#include "src/backends/backend.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::backends::qemu {

// Numbers of the descriptors in the QEMU process.
struct ChildFds {
  int control = 3;
  int network = 4;
  int console = 5;
  int monitor = 6;
  int state = 7;   // of a saved machine
  int memory = 0;  // of a saved machine, to be read only (with_memory_as_input)
  int first_disk = 10;
};

// The machine's memory is a file: shared with it, so that the machine can be saved, or mapped copy-on-write, so that it
// can be restored. Such a machine has a monitor (QMP), on a descriptor of its own.
struct QemuSnapshot {
  enum class Use { save, restore };
  Use use = Use::save;
  std::filesystem::path memory;
};

struct QemuMachine {
  std::filesystem::path binary;
  Accelerator accelerator = Accelerator::tcg;
  std::filesystem::path kernel;
  DeviceDiscovery discovery = DeviceDiscovery::acpi;
  unsigned tick_hz = 0;  // of the kernel, 0: not known
  std::filesystem::path initramfs;
  std::uint32_t vcpus = 1;
  std::uint64_t memory_mib = 512;
  std::vector<bool> disks_read_only;   // slot 0 first
  std::uint64_t tick_khz = 1'000'000;  // of the guest's TSC under TCG (host_ticks.h)
  // Under TCG: whether the guest's kernel gives each program addresses of its own. QEMU 7.2 translates code for the
  // address it runs at: each process then has all of its code translated again (bench/emulation).
  bool emulated_aslr = false;
  std::optional<QemuSnapshot> snapshot;
};

std::vector<std::string> qemu_arguments(const QemuMachine& machine, const ChildFds& fds);

}  // namespace cleanroom::backends::qemu
