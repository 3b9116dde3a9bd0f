#include "src/backends/qemu/qemu_arguments.h"

#include "src/backends/guest_kernel.h"
#include "src/channel/handshake.h"

namespace cleanroom::backends::qemu {
namespace {

using Arguments = std::vector<std::string>;

void append(Arguments& into, Arguments more) {
  into.insert(into.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// A socket that is connected already: no name in the file system, nobody else can take it.
void append_port(Arguments& into, const std::string& id, int fd, const char* name) {
  append(into, {"-chardev", fmt::format("socket,id={},fd={}", id, fd),  //
                "-device", fmt::format("virtserialport,chardev={},name={}", id, name)});
}

// Disks come as descriptors in QEMU's fd sets; `format=raw`, always: a probed format is a guest's way to other files.
void append_disk(Arguments& into, std::size_t slot, int fd, bool read_only) {
  append(into, {"-add-fd", fmt::format("fd={},set={}", fd, slot), "-blockdev",
                fmt::format("driver=raw,node-name=disk{0},read-only={1},file.driver=file,file.filename=/dev/fdset/{0},"
                            "file.locking=off,discard={2},detect-zeroes=off",
                            slot, read_only ? "on" : "off", read_only ? "ignore" : "unmap"),
                "-device", fmt::format("virtio-blk-device,drive=disk{0},serial=slot{0}", slot)});
}

// Under TCG the guest is told the rate of its TSC: it would measure it against the PIT, fail on a busy host, and then
// hang for want of any clock.
// Nor does it try whether the timer ticks: on a busy host it may not for the while that the kernel looks, which then
// panics or hangs.
constexpr const char* kTcgClock = " tsc_early_khz={} tsc=reliable no_timer_check";
// What follows from that rate, where the kernel's own tick is known: without it each further vCPU measures for half a
// second.
constexpr const char* kTcgDelays = " lpj={}";

constexpr const char* kFixedAddresses = " norandmaps";
// All that TCG emulates but (docs/backends.md has what each costs):
//   ERMS  tells kernel and libc to copy and clear with `rep movsb`, which TCG does a byte at a time
//   LA57  a fifth level of page tables, to be walked whenever QEMU's own table has no entry
//   SMAP  each copy from or to a process changes the mode that QEMU's tables and translations belong to
constexpr const char* kTcgProcessor = "max,erms=off,la57=off,smap=off";

// In an option's value a comma is written twice.
std::string escaped(const std::string& value) {
  std::string text;
  for (const char c : value)
    text.append(c == ',' ? 2 : 1, c);
  return text;
}

// The kernel is in a saved machine's memory already: loading it again would only cost time and memory.
void append_kernel(Arguments& into, const QemuMachine& machine) {
  if (machine.snapshot && machine.snapshot->use == QemuSnapshot::Use::restore) return;
  std::string command_line = fmt::format("{} reboot=t", kGuestKernelOptions);
  if (machine.accelerator == Accelerator::tcg) {
    command_line += fmt::format(kTcgClock, machine.tick_khz);
    if (!machine.emulated_aslr) command_line += kFixedAddresses;
    if (machine.tick_hz != 0) command_line += fmt::format(kTcgDelays, machine.tick_khz * 1000 / machine.tick_hz);
  }
  if (machine.snapshot) command_line += fmt::format(" {}", channel::kTemplateMark);
  append(into, {"-kernel", machine.kernel.native(), "-initrd", machine.initramfs.native(), "-append", command_line});
}

// share=on: what the guest writes is in the file; off: it stays this machine's own. A restored machine waits for its
// state (-incoming), then for the monitor's `cont` (-S).
void append_snapshot(Arguments& into, const QemuMachine& machine, const ChildFds& fds) {
  if (!machine.snapshot) return;
  const bool restore = machine.snapshot->use == QemuSnapshot::Use::restore;
  append(into,
         {"-object",
          fmt::format("memory-backend-file,id=memory,size={}M,mem-path={},share={},merge=off,dump=off",
                      machine.memory_mib, escaped(machine.snapshot->memory.native()), restore ? "off" : "on"),
          "-chardev", fmt::format("socket,id=monitor,fd={}", fds.monitor), "-mon", "chardev=monitor,mode=control"});
  if (restore) append(into, {"-S", "-incoming", "defer"});
}

// A distribution's kernel finds the virtio-mmio devices in ACPI's tables only. Without ACPI, QEMU appends
// virtio_mmio.device=... to the kernel's command line.
constexpr const char* machine_options(DeviceDiscovery discovery) {
  return discovery == DeviceDiscovery::acpi ? "acpi=on" : "acpi=off";
}

}  // namespace

std::vector<std::string> qemu_arguments(const QemuMachine& machine, const ChildFds& fds) {
  const bool kvm = machine.accelerator == Accelerator::kvm;
  Arguments arguments{
      machine.binary.native(),
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-no-reboot",
      "-sandbox",
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
      "-M",
      fmt::format("microvm,{},rtc=on,usb=off,pcie=off,mem-merge=off,dump-guest-core=off{}",
                  machine_options(machine.discovery), machine.snapshot ? ",memory-backend=memory" : ""),
      "-accel",
      kvm ? "kvm" : "tcg,thread=multi",
      "-cpu",
      kvm ? "host" : kTcgProcessor,
      "-smp",
      std::to_string(machine.vcpus),
      "-m",
      fmt::format("{}M", machine.memory_mib),
      "-chardev",
      fmt::format("socket,id=console,fd={}", fds.console),
      "-serial",
      "chardev:console",
      "-object",
      "rng-builtin,id=entropy",
      "-device",
      "virtio-rng-device,rng=entropy",
      "-device",
      "virtio-serial-device,max_ports=4",
  };
  append_kernel(arguments, machine);
  append_snapshot(arguments, machine, fds);
  append_port(arguments, "control", fds.control, channel::kControlPortName);
  append_port(arguments, "network", fds.network, channel::kNetworkPortName);
  for (std::size_t slot = 0; slot < machine.disks_read_only.size(); ++slot) {
    append_disk(arguments, slot, fds.first_disk + static_cast<int>(slot), machine.disks_read_only[slot]);
  }
  return arguments;
}

}  // namespace cleanroom::backends::qemu
