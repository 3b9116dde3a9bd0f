#include "src/backends/qemu/qemu_backend.h"

#include "src/backends/accelerator.h"
#include "src/backends/capped_log.h"
#include "src/backends/qemu/qemu_arguments.h"
#include "src/base/os/io.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <signal.h>

namespace cleanroom::backends::qemu {

namespace asio = base::asio;
using base::Code;
using base::Result;

namespace {

constexpr const char* kProgram = "qemu-system-x86_64";

class QemuVm final : public Vm {
 public:
  QemuVm(const asio::any_io_executor& executor, base::Process process, base::Fd control, base::Fd network,
         std::shared_ptr<CappedLog> log)
      : executor_(executor),
        process_(std::move(process)),
        control_(std::move(control)),
        network_(std::move(network)),
        log_(std::move(log)) {}

  channel::StreamSocket take_control() override { return as_socket(std::move(control_)); }
  channel::StreamSocket take_network() override { return as_socket(std::move(network_)); }
  pid_t pid() const override { return process_.pid(); }
  void kill() override { process_.signal(SIGKILL); }
  std::string console_tail(std::size_t max_bytes) const override { return log_->tail(max_bytes); }

  base::Awaitable<base::ExitStatus> wait_exit() override {
    // A pidfd becomes readable when its process ends.
    asio::posix::stream_descriptor pidfd(executor_, ::dup(process_.pidfd().get()));
    for (;;) {
      if (const auto status = process_.try_wait()) co_return *status;
      co_await pidfd.async_wait(asio::posix::stream_descriptor::wait_read, base::kTuple);
    }
  }

 private:
  channel::StreamSocket as_socket(base::Fd fd) {
    channel::StreamSocket socket(executor_);
    socket.assign(asio::local::stream_protocol(), fd.release());
    return socket;
  }

  asio::any_io_executor executor_;
  base::Process process_;
  base::Fd control_;
  base::Fd network_;
  std::shared_ptr<CappedLog> log_;
};

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
                            .vmm_version = {}};
  return std::unique_ptr<QemuBackend>(
      new QemuBackend(std::move(executor), std::move(*binary), std::move(capabilities)));
}

QemuBackend::QemuBackend(asio::any_io_executor executor, std::filesystem::path binary, Capabilities capabilities)
    : executor_(std::move(executor)), binary_(std::move(binary)), capabilities_(std::move(capabilities)) {}

Result<std::unique_ptr<Vm>> QemuBackend::launch(LaunchSpec spec) {
  CR_ASSIGN(auto log, CappedLog::create(spec.console_log));
  CR_ASSIGN(auto control, base::make_socket_pair());
  CR_ASSIGN(auto network, base::make_socket_pair());
  CR_ASSIGN(auto console, base::make_socket_pair());
  CR_ASSIGN(auto messages, base::make_pipe());

  const ChildFds numbers;
  QemuMachine machine{.binary = binary_,
                      .accelerator = capabilities_.accelerator,
                      .kernel = spec.kernel,
                      .initramfs = spec.initramfs,
                      .vcpus = spec.vcpus,
                      .memory_mib = spec.memory_mib,
                      .disks_read_only = {},
                      .tick_khz = ticks_.khz()};
  base::SpawnOptions options;
  options.fds = {{1, &messages.write},
                 {2, &messages.write},
                 {numbers.control, &control.b},
                 {numbers.network, &network.b},
                 {numbers.console, &console.b}};
  for (std::size_t slot = 0; slot < spec.disks.size(); ++slot) {
    machine.disks_read_only.push_back(spec.disks[slot].read_only);
    options.fds.push_back({numbers.first_disk + static_cast<int>(slot), &spec.disks[slot].file});
  }
  options.argv = qemu_arguments(machine, numbers);
  options.working_directory = "/";
  auto process = base::Process::spawn(options);
  if (!process) return base::fail(base::Error(Code::failed_precondition, "vmm_unavailable", process.error().message));

  log->drain(executor_, std::move(console.a));
  log->drain(executor_, std::move(messages.read));
  return std::unique_ptr<Vm>(std::make_unique<QemuVm>(executor_, std::move(*process), std::move(control.a),
                                                      std::move(network.a), std::move(log)));
}

}  // namespace cleanroom::backends::qemu
