#include "src/backends/qemu/qemu_backend.h"

#include "src/backends/accelerator.h"
#include "src/backends/capped_log.h"
#include "src/backends/identity.h"
#include "src/backends/qemu/qemu_profile.h"
#include "src/backends/qemu/qemu_vm.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <unistd.h>

namespace cleanroom::backends::qemu {

namespace asio = base::asio;
using base::Code;
using base::Result;

namespace {

constexpr const char* kProgram = "qemu-system-x86_64";
// A snapshot's guest believes in the rate its counter had then. Measured rates differ by some 0.01 %; a step apart,
// 0.4 % of a usual counter, is another host's.
constexpr std::uint64_t kTickStep = 10'000;

// QEMU would make the file for others to read.
Result<jail::Loan> create_memory(const std::filesystem::path& path, std::uint64_t mib, const jail::JailHost& host) {
  CR_ASSIGN(const auto file, base::open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  if (::ftruncate(file.get(), static_cast<off_t>(mib << 20)) != 0)
    return base::fail(base::errno_error("size", path.native()));
  return host.lend(file);
}

}  // namespace

Result<std::unique_ptr<QemuBackend>> QemuBackend::create(asio::any_io_executor executor, const QemuOptions& options) {
  auto binary = base::find_program(options.binary ? options.binary->native() : kProgram);
  if (!binary || ::access(binary->c_str(), X_OK) != 0) {
    return base::fail(
        base::Error(
            Code::failed_precondition, "vmm_unavailable",
            fmt::format("cannot find QEMU: '{}' is not there", options.binary ? options.binary->native() : kProgram))
            .with_hint(
                "install it (apt-get install qemu-system-x86), or set backends.qemu.binary_path in config.yaml"));
  }
  const KvmProbe probe = probe_kvm(*binary, options.cache_directory);
  Capabilities capabilities{.name = "qemu",
                            .accelerator = probe.works ? Accelerator::kvm : Accelerator::tcg,
                            .hardware_isolation = probe.works,
                            .why_no_kvm = probe.reason,
                            .vmm_version = {},
                            .needs_elf_kernel = false,
                            .isolation = {}};
  auto jail_host = jail::probe_jail_host();
  capabilities.isolation = jail_host.isolation;
  return std::unique_ptr<QemuBackend>(new QemuBackend(std::move(executor), std::move(*binary), options.cache_directory,
                                                      std::move(capabilities), std::move(jail_host),
                                                      options.emulated_aslr));
}

QemuBackend::QemuBackend(asio::any_io_executor executor, std::filesystem::path binary, std::filesystem::path cache,
                         Capabilities capabilities, jail::JailHost jail_host, bool emulated_aslr)
    : executor_(std::move(executor)),
      binary_(std::move(binary)),
      cache_(std::move(cache)),
      emulated_aslr_(emulated_aslr),
      capabilities_(std::move(capabilities)),
      jail_host_(std::move(jail_host)),
      ticks_(cache_) {}

QemuMachine QemuBackend::machine_of(const LaunchSpec& spec) const {
  QemuMachine machine{.binary = binary_,
                      .accelerator = capabilities_.accelerator,
                      .kernel = spec.kernel,
                      .discovery = spec.discovery,
                      .tick_hz = spec.tick_hz,
                      .initramfs = spec.initramfs,
                      .vcpus = spec.vcpus,
                      .memory_mib = spec.memory_mib,
                      .disks_read_only = {},
                      .tick_khz = ticks_.khz(),
                      .emulated_aslr = emulated_aslr_};
  for (const auto& disk : spec.disks)
    machine.disks_read_only.push_back(disk.read_only);
  return machine;
}

Result<jail::JailedProcess> QemuBackend::start_jailed(base::SpawnOptions options, const QemuMachine& machine,
                                                      std::uint64_t largest_disk) const {
  CR_ASSIGN(const auto profile, qemu_profile(machine, largest_disk, cache_));
  return jail::spawn_jailed(std::move(options), profile, jail_host_);
}

Result<std::unique_ptr<Vm>> QemuBackend::start(LaunchSpec spec, const QemuMachine& machine, base::Fd state,
                                               jail::Loan saved_memory) {
  CR_ASSIGN(auto log, CappedLog::create(spec.console_log));
  CR_ASSIGN(auto control, base::make_socket_pair());
  CR_ASSIGN(auto network, base::make_socket_pair());
  CR_ASSIGN(auto console, base::make_socket_pair());
  CR_ASSIGN(auto messages, base::make_pipe());
  const ChildFds numbers;
  base::SpawnOptions options;
  options.fds = {{1, &messages.write},
                 {2, &messages.write},
                 {numbers.control, &control.b},
                 {numbers.network, &network.b},
                 {numbers.console, &console.b}};
  base::Fd memory;
  if (state) {
    CR_ASSIGN(memory, base::open_file(machine.snapshot->memory, O_RDONLY));
    options.fds.push_back({numbers.memory, &memory});
  }
  base::SocketPair monitor;
  if (machine.snapshot) {
    CR_ASSIGN(monitor, base::make_socket_pair());
    options.fds.push_back({numbers.monitor, &monitor.b});
  }
  if (state) {
    options.fds.push_back({numbers.state, &state});
    CR_TRY(base::write_all(monitor.a, load_commands(numbers.state)));
  }
  for (std::size_t slot = 0; slot < spec.disks.size(); ++slot)
    options.fds.push_back({numbers.first_disk + static_cast<int>(slot), &spec.disks[slot].file});
  options.argv = qemu_arguments(machine, numbers);
  CR_ASSIGN(const auto largest, largest_disk(spec));
  auto jailed = start_jailed(std::move(options), machine, largest);
  if (!jailed) return base::fail(base::Error(Code::failed_precondition, "vmm_unavailable", jailed.error().message));

  log->drain(executor_, std::move(console.a));
  log->drain(executor_, std::move(messages.read));
  QemuLinks links{.control = std::move(control.a),
                  .network = std::move(network.a),
                  .memory = std::move(saved_memory),
                  .monitor = std::move(monitor.a)};
  return std::unique_ptr<Vm>(std::make_unique<QemuVm>(executor_, std::move(*jailed), std::move(links), std::move(log)));
}

Result<std::unique_ptr<Vm>> QemuBackend::launch(LaunchSpec spec) {
  auto machine = machine_of(spec);
  if (spec.memory_to_save) {
    machine.snapshot = QemuSnapshot{QemuSnapshot::Use::save, *spec.memory_to_save};
    CR_ASSIGN(auto memory, create_memory(*spec.memory_to_save, spec.memory_mib, jail_host_));
    return start(std::move(spec), machine, {}, std::move(memory));
  }
  return start(std::move(spec), machine, {}, {});
}

Result<std::unique_ptr<Vm>> QemuBackend::restore(LaunchSpec spec, const SnapshotFiles& files) {
  auto machine = machine_of(spec);
  machine.snapshot = QemuSnapshot{QemuSnapshot::Use::restore, files.memory};
  CR_ASSIGN(auto state, base::open_file(files.state, O_RDONLY));
  return start(std::move(spec), machine, std::move(state), {});
}

Result<std::string> QemuBackend::snapshot_identity(const LaunchSpec& spec) const {
  auto machine = machine_of(spec);
  machine.snapshot = QemuSnapshot{QemuSnapshot::Use::save, "memory"};
  machine.tick_khz = (machine.tick_khz + kTickStep / 2) / kTickStep * kTickStep;
  std::string text;
  for (const auto& argument : qemu_arguments(machine, {}))
    text += argument + "\n";
  CR_ASSIGN(const auto surroundings, surroundings_identity(binary_, spec));
  return text + surroundings;
}

}  // namespace cleanroom::backends::qemu
