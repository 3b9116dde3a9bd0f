#pragma once
// The QEMU `microvm` backend: hardware isolation with KVM; under TCG emulation, which QEMU says is no security
// boundary.
#include "src/backends/backend.h"
#include "src/backends/jail/jail.h"
#include "src/backends/qemu/host_ticks.h"
#include "src/backends/qemu/qemu_arguments.h"

#include <filesystem>
#include <optional>

namespace cleanroom::backends::qemu {

struct QemuOptions {
  std::optional<std::filesystem::path> binary;  // default: qemu-system-x86_64 in PATH
  std::filesystem::path cache_directory;  // keeps the KVM probe's answer, the rate of the host's TSC, QEMU's libraries
  bool emulated_aslr = false;             // QemuMachine::emulated_aslr
};

class QemuBackend final : public Backend {
 public:
  // Finds the program, tries KVM and what a jail needs; blocks (see probe_kvm, probe_jail_host). vmm_unavailable when
  // there is no QEMU.
  static base::Result<std::unique_ptr<QemuBackend>> create(base::asio::any_io_executor executor,
                                                           const QemuOptions& options);

  const Capabilities& capabilities() const override { return capabilities_; }
  base::Result<std::unique_ptr<Vm>> launch(LaunchSpec spec) override;
  base::Result<std::unique_ptr<Vm>> restore(LaunchSpec spec, const SnapshotFiles& files) override;
  base::Result<std::string> snapshot_identity(const LaunchSpec& spec) const override;

 private:
  QemuBackend(base::asio::any_io_executor executor, std::filesystem::path binary, std::filesystem::path cache,
              Capabilities capabilities, jail::JailHost jail_host, bool emulated_aslr);
  QemuMachine machine_of(const LaunchSpec& spec) const;
  // `state`: what a machine that is to be restored reads.
  base::Result<std::unique_ptr<Vm>> start(LaunchSpec spec, const QemuMachine& machine, base::Fd state,
                                          jail::Loan saved_memory);
  base::Result<jail::JailedProcess> start_jailed(base::SpawnOptions options, const QemuMachine& machine,
                                                 std::uint64_t largest_disk) const;
  base::asio::any_io_executor executor_;
  std::filesystem::path binary_;
  std::filesystem::path cache_;
  bool emulated_aslr_;
  Capabilities capabilities_;
  jail::JailHost jail_host_;
  HostTicks ticks_;
};

}  // namespace cleanroom::backends::qemu
