#pragma once
// A backend turns a LaunchSpec into a running microVM and takes it down again. It knows nothing of images, policy or
// jobs: it gets files, and gives two byte streams.
//
// A VM can be saved once its agent is ready, and any number of VMs restored from that: each maps the saved memory
// copy-on-write, has disks and streams of its own, and goes on where the saved one waited for START.
//
// Threads: the caller's io_context; no call blocks it for longer than a fork. Deadlines are absolute.
#include "src/backends/device_discovery.h"
#include "src/backends/jail/isolation.h"
#include "src/base/async/asio.h"
#include "src/base/os/fd.h"
#include "src/base/os/process.h"
#include "src/channel/h2_connection.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::backends {

enum class Accelerator { kvm, tcg };
std::string_view to_string(Accelerator accelerator);

struct Disk {
  base::Fd file;  // raw image; opened O_RDONLY when read_only
  bool read_only = true;
};

struct LaunchSpec {
  std::filesystem::path kernel;
  DeviceDiscovery discovery = DeviceDiscovery::acpi;  // what the kernel can do
  unsigned tick_hz = 0;                               // of the kernel, 0: not known
  std::filesystem::path initramfs;
  std::uint32_t vcpus = 1;
  std::uint64_t memory_mib = 512;
  std::vector<Disk> disks;            // slot 0 first
  std::filesystem::path console_log;  // what the guest's console and the VMM say, capped
  std::filesystem::path directory;    // private, empty; for a VMM whose sockets need names. May outlive the VM
  // The VM is there to be saved: its memory is this file from the start, made by the backend. Its disks must have the
  // sizes of those that restored VMs get.
  std::optional<std::filesystem::path> memory_to_save;
};

// Bytes. A VMM writes to no longer file than that.
base::Result<std::uint64_t> largest_disk(const LaunchSpec& spec);

// What a saved VM is made of. Both files belong to the caller.
struct SnapshotFiles {
  std::filesystem::path memory;  // sparse, as long as the guest's memory
  std::filesystem::path state;   // devices and vCPUs
};

// How a VMM's process ended.
struct VmmEnd {
  base::ExitStatus status;
  bool out_of_memory = false;  // by the kernel: the memory of its cgroup was used up
};
// "exit status 1", "signal 9 (Killed), as it had used up the memory of its cgroup"
std::string to_string(const VmmEnd& end);

// A running VM. The destructor kills it and waits for its end.
class Vm {
 public:
  virtual ~Vm() = default;
  // Of a launched VM: completes when its two channels are connected. launch_failed: the VMM refuses or ended;
  // launch_timeout.
  virtual base::Awaitable<base::Result<void>> connect(base::Deadline deadline) = 0;
  // The two channels, after connect() or resume(); each may be taken once.
  virtual channel::StreamSocket take_control() = 0;
  virtual channel::StreamSocket take_network() = 0;
  virtual pid_t pid() const = 0;
  // Of a VM with memory_to_save, after READY: stops it and writes `state`; the memory is complete then. The VM is good
  // for nothing more. unavailable: the VMM refuses or ended; timeout at the deadline.
  virtual base::Awaitable<base::Result<void>> save(std::filesystem::path state, base::Deadline deadline) = 0;
  // Of a restored VM, which stands still until then. Returns when it runs. unavailable: the snapshot does not fit;
  // timeout.
  virtual base::Awaitable<base::Result<void>> resume(base::Deadline deadline) = 0;
  // Completes when the VMM process has ended; at once after that.
  virtual base::Awaitable<VmmEnd> wait_end() = 0;
  virtual void kill() = 0;
  // Last bytes of console and VMM output, for an error message: printable text, at most `max_bytes`.
  virtual std::string console_tail(std::size_t max_bytes) const = 0;
};

struct Capabilities {
  std::string_view name;  // in configuration and run.json
  Accelerator accelerator = Accelerator::tcg;
  bool hardware_isolation = false;  // false under emulation: QEMU promises no security boundary there
  std::string why_no_kvm;           // empty with KVM
  std::string vmm_version;          // empty where nobody asked
  bool needs_elf_kernel = false;    // LaunchSpec::kernel must be an uncompressed vmlinux (elf_kernel.h)
  jail::Isolation isolation;        // of its VMMs from this host
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const Capabilities& capabilities() const = 0;
  // Returns as soon as the VMM runs; its guest is not up yet. Nothing is left behind on failure.
  // vmm_unavailable names the program or permission that is missing.
  virtual base::Result<std::unique_ptr<Vm>> launch(LaunchSpec spec) = 0;
  // As launch(), but the VM is the one that `files` were saved of, with the disks, console and streams of `spec`: it
  // stands still until resume(), and expects START, having said READY before. Files that do not fit show there.
  virtual base::Result<std::unique_ptr<Vm>> restore(LaunchSpec spec, const SnapshotFiles& files) = 0;
  // All that decides whether a snapshot fits a spec, but for what its disks hold: VMM build, accelerator, processor,
  // kernel, initramfs, sizes, devices. Equal texts: it fits. A few system calls.
  virtual base::Result<std::string> snapshot_identity(const LaunchSpec& spec) const = 0;
};

}  // namespace cleanroom::backends
