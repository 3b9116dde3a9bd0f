#include "src/backends/firecracker/firecracker_backend.h"

#include "src/backends/accelerator.h"
#include "src/backends/firecracker/firecracker_vm.h"
#include "src/backends/firecracker/version.h"
#include "src/backends/identity.h"
#include "src/base/os/io.h"
#include "src/channel/handshake.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace cleanroom::backends::firecracker {

namespace asio = base::asio;
using base::Code;
using base::Result;

namespace {

constexpr const char* kProgram = "firecracker";

// Numbers of the descriptors in the Firecracker process. A snapshot has the disks' in it.
enum ChildNumber : int {
  kLog = 3,
  kMetrics = 4,
  kKernel = 5,
  kInitramfs = 6,
  kMemory = 7,
  kState = 8,
  kFirstDisk = 10
};

std::string path_of(int number) {
  return fmt::format("/proc/self/fd/{}", number);
}

VmConfig config_of(const LaunchSpec& spec) {
  VmConfig config{.machine = {.vcpus = spec.vcpus, .memory_mib = spec.memory_mib},
                  .boot = {.kernel_image_path = path_of(kKernel),
                           .initrd_path = path_of(kInitramfs),
                           .boot_args = boot_arguments(spec.memory_to_save.has_value())},
                  .drives = {}};
  for (std::size_t slot = 0; slot < spec.disks.size(); ++slot) {
    config.drives.push_back({.id = fmt::format("slot{}", slot),
                             .path_on_host = path_of(kFirstDisk + static_cast<int>(slot)),
                             .read_only = spec.disks[slot].read_only});
  }
  return config;
}

// The logs of one VM, and the write ends that its process gets.
struct Logs {
  std::shared_ptr<CappedLog> console;
  std::shared_ptr<CappedLog> messages;
  std::shared_ptr<CappedLog> metrics;
  base::PipeEnds console_pipe;
  base::PipeEnds messages_pipe;
  base::PipeEnds metrics_pipe;

  static Result<Logs> create(const std::filesystem::path& console_log) {
    Logs logs;
    const auto directory = console_log.parent_path();
    CR_ASSIGN(logs.console, CappedLog::create(console_log));
    CR_ASSIGN(logs.messages, CappedLog::create(directory / "firecracker.log"));
    CR_ASSIGN(logs.metrics, CappedLog::create(directory / "firecracker-metrics.jsonl"));
    CR_ASSIGN(logs.console_pipe, base::make_pipe());
    CR_ASSIGN(logs.messages_pipe, base::make_pipe());
    CR_ASSIGN(logs.metrics_pipe, base::make_pipe());
    return logs;
  }
  void drain(const asio::any_io_executor& executor) {
    console->drain(executor, std::move(console_pipe.read));
    messages->drain(executor, std::move(messages_pipe.read));
    metrics->drain(executor, std::move(metrics_pipe.read));
  }
};

std::vector<std::string> arguments(const std::filesystem::path& binary) {
  return {binary.native(), "--api-sock", kApiSocket,     "--log-path",     path_of(kLog),
          "--level",       "Info",       "--show-level", "--metrics-path", path_of(kMetrics)};
}

}  // namespace

// Open files besides the disks, by their numbers in the process.
struct FirecrackerBackend::Inputs {
  base::Fd kernel;
  base::Fd initramfs;
  base::Fd memory;
  base::Fd state;
};

Result<std::unique_ptr<FirecrackerBackend>> FirecrackerBackend::create(asio::any_io_executor executor,
                                                                       const FirecrackerOptions& options) {
  const std::string name = options.binary ? options.binary->native() : kProgram;
  auto binary = base::find_program(name);
  if (!binary || ::access(binary->c_str(), X_OK) != 0) {
    return base::fail(base::Error(Code::failed_precondition, "vmm_unavailable",
                                  fmt::format("cannot find Firecracker: '{}' is not there", name))
                          .with_hint("install it, or set backends.firecracker.binary_path in config.yaml"));
  }
  CR_ASSIGN(const auto version, program_version(*binary, options.cache_directory));
  CR_TRY(check_version(version));
  const KvmProbe probe = probe_kvm_directly();
  if (!probe.works) {
    return base::fail(base::Error(Code::unsupported, "backend_capability_mismatch",
                                  "cannot use the firecracker backend without KVM: " + probe.reason)
                          .with_hint("let this user use /dev/kvm, or choose another backend"));
  }
  Capabilities capabilities{.name = "firecracker",
                            .accelerator = Accelerator::kvm,
                            .hardware_isolation = true,
                            .why_no_kvm = {},
                            .vmm_version = version.text,
                            .needs_elf_kernel = true,
                            .isolation = {}};
  for (const auto wall : model::all_walls())
    capabilities.isolation.lose(wall, "this build does not jail Firecracker");
  return std::unique_ptr<FirecrackerBackend>(
      new FirecrackerBackend(std::move(executor), std::move(*binary), std::move(capabilities)));
}

FirecrackerBackend::FirecrackerBackend(asio::any_io_executor executor, std::filesystem::path binary,
                                       Capabilities capabilities)
    : executor_(std::move(executor)), binary_(std::move(binary)), capabilities_(std::move(capabilities)) {}

Result<std::unique_ptr<Vm>> FirecrackerBackend::start(const LaunchSpec& spec, const Inputs& inputs,
                                                      std::vector<ApiCall> calls) {
  CR_ASSIGN(auto logs, Logs::create(spec.console_log));
  CR_ASSIGN(auto directory, base::TempDir::create(spec.directory, "vmm-"));
  CR_ASSIGN(auto directory_fd, base::open_file(directory.path(), O_PATH | O_DIRECTORY));
  CR_ASSIGN(auto control, StreamListener::create(executor_, directory_fd, channel::kControlVsockPort));
  CR_ASSIGN(auto network, StreamListener::create(executor_, directory_fd, channel::kNetworkVsockPort));
  base::SpawnOptions options;
  options.argv = arguments(binary_);
  options.working_directory = directory.path();
  options.fds = {{1, &logs.console_pipe.write},
                 {2, &logs.console_pipe.write},
                 {kLog, &logs.messages_pipe.write},
                 {kMetrics, &logs.metrics_pipe.write}};
  for (const auto& [number, file] : {std::pair<int, const base::Fd*>(kKernel, &inputs.kernel),
                                     {kInitramfs, &inputs.initramfs},
                                     {kMemory, &inputs.memory},
                                     {kState, &inputs.state}}) {
    if (*file) options.fds.push_back({number, file});
  }
  for (std::size_t slot = 0; slot < spec.disks.size(); ++slot)
    options.fds.push_back({kFirstDisk + static_cast<int>(slot), &spec.disks[slot].file});
  auto process = base::Process::spawn(options);
  if (!process) return base::fail(base::Error(Code::failed_precondition, "vmm_unavailable", process.error().message));

  logs.drain(executor_);
  MachineParts parts{.directory = std::move(directory),
                     .directory_fd = std::move(directory_fd),
                     .control = std::move(control),
                     .network = std::move(network),
                     .process = std::move(*process)};
  auto machine = std::make_shared<Machine>(executor_, std::move(parts));
  machine->run(std::move(calls));
  return std::unique_ptr<Vm>(std::make_unique<FirecrackerVm>(std::move(machine), std::move(logs.console),
                                                             spec.memory_to_save ? path_of(kMemory) : std::string{}));
}

Result<std::unique_ptr<Vm>> FirecrackerBackend::launch(LaunchSpec spec) {
  Inputs inputs;
  CR_ASSIGN(inputs.kernel, base::open_file(spec.kernel, O_RDONLY));
  CR_ASSIGN(inputs.initramfs, base::open_file(spec.initramfs, O_RDONLY));
  auto config = config_of(spec);
  if (spec.memory_to_save) {
    CR_ASSIGN(inputs.memory, base::open_file(*spec.memory_to_save, O_RDWR | O_CREAT | O_EXCL, 0600));
    config.machine.tracks_writes = true;
  }
  return start(spec, inputs, boot_calls(config));
}

Result<std::unique_ptr<Vm>> FirecrackerBackend::restore(LaunchSpec spec, const SnapshotFiles& files) {
  Inputs inputs;
  CR_ASSIGN(inputs.memory, base::open_file(files.memory, O_RDONLY));
  CR_ASSIGN(inputs.state, base::open_file(files.state, O_RDONLY));
  return start(spec, inputs, load_calls({.state_path = path_of(kState), .memory_path = path_of(kMemory)}));
}

Result<std::string> FirecrackerBackend::snapshot_identity(const LaunchSpec& spec) const {
  std::string text;
  for (const auto& call : boot_calls(config_of(spec)))
    text += describe(call) + " " + call.body + "\n";
  CR_ASSIGN(const auto surroundings, surroundings_identity(binary_, spec));
  return text + surroundings;
}

}  // namespace cleanroom::backends::firecracker
