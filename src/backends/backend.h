#pragma once
// A backend turns a LaunchSpec into a running microVM and takes it down again. It knows nothing of images, policy or
// jobs: it gets files, and gives two byte streams.
//
// Threads: the caller's io_context; no call blocks it for longer than a fork. Deadlines are absolute.
#include "src/base/async/asio.h"
#include "src/base/os/fd.h"
#include "src/base/os/process.h"
#include "src/channel/h2_connection.h"

#include <filesystem>
#include <memory>
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
  std::filesystem::path initramfs;
  std::uint32_t vcpus = 1;
  std::uint64_t memory_mib = 512;
  std::vector<Disk> disks;            // slot 0 first
  std::filesystem::path console_log;  // what the guest's console and the VMM say, capped
};

// A running VM. The destructor kills it and waits for its end.
class Vm {
 public:
  virtual ~Vm() = default;
  // The two channels, connected to the VMM; each may be taken once.
  virtual channel::StreamSocket take_control() = 0;
  virtual channel::StreamSocket take_network() = 0;
  virtual pid_t pid() const = 0;
  // Completes when the VMM process has ended.
  virtual base::Awaitable<base::ExitStatus> wait_exit() = 0;
  virtual void kill() = 0;
  // Last bytes of console and VMM output, for an error message: printable text, at most `max_bytes`.
  virtual std::string console_tail(std::size_t max_bytes) const = 0;
};

struct Capabilities {
  std::string_view name;  // in configuration and run.json
  Accelerator accelerator = Accelerator::tcg;
  bool hardware_isolation = false;  // false under emulation: QEMU promises no security boundary there
  std::string why_no_kvm;           // empty with KVM
  std::string vmm_version;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const Capabilities& capabilities() const = 0;
  // Returns as soon as the VMM runs; its guest is not up yet. Nothing is left behind on failure.
  // vmm_unavailable names the program or permission that is missing.
  virtual base::Result<std::unique_ptr<Vm>> launch(LaunchSpec spec) = 0;
};

}  // namespace cleanroom::backends
