#include "src/backends/firecracker/firecracker_backend.h"

#include "src/backends/accelerator.h"
#include "src/backends/firecracker/firecracker_profile.h"
#include "src/backends/firecracker/firecracker_vm.h"
#include "src/backends/firecracker/version.h"
#include "src/backends/identity.h"
#include "src/base/os/io.h"
#include "src/channel/handshake.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace cleanroom::backends::firecracker {

namespace asio = base::asio;
using base::Code;
using base::Result;

namespace {

constexpr const char* kProgram = "firecracker";

// Numbers of the descriptors in the Firecracker process. A snapshot has the disks' in it.
constexpr int kLog = 3;
constexpr int kMetrics = 4;
constexpr int kKernel = 5;
constexpr int kInitramfs = 6;
constexpr int kMemory = 7;
constexpr int kState = 8;
constexpr int kFirstDisk = 10;

std::string path_of(int number) {
  return fmt::format("/proc/self/fd/{}", number);
}

// What Firecracker reads: the same name in every jail.
std::string jail_name(int number) {
  switch (number) {
    case kKernel:
      return "/kernel";
    case kInitramfs:
      return "/initramfs";
    case kMemory:
      return "/memory";
    case kState:
      return "/state";
    default:
      return fmt::format("/disk{}", number - kFirstDisk);
  }
}

// The name of an open file, for the jail to bind: a descriptor has the mount of this namespace, which another cannot
// bind, and through which it could be opened again for writing.
Result<std::filesystem::path> name_of(const base::Fd& file) {
  std::error_code error;
  auto path = std::filesystem::read_symlink(path_of(file.get()), error);
  struct stat open_file {};
  struct stat named {};
  if (!error && ::fstat(file.get(), &open_file) == 0 && ::stat(path.c_str(), &named) == 0 &&
      open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino)
    return path;
  return base::fail(Code::unavailable, "vmm_unavailable",
                    fmt::format("cannot give '{}' to the VMM: it has been removed", path.native()));
}

std::vector<std::string> arguments(const std::filesystem::path& binary) {
  return {binary.native(), "--api-sock", kApiSocket,     "--log-path",     path_of(kLog),
          "--level",       "Info",       "--show-level", "--metrics-path", path_of(kMetrics)};
}

}  // namespace

// The logs of one VM, and the write ends that its process gets.
struct FirecrackerBackend::Logs {
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

// Its files besides the disks that it writes, by their numbers in the process.
struct FirecrackerBackend::Inputs {
  std::vector<std::pair<int, std::filesystem::path>> to_read;
  std::vector<std::pair<int, base::Fd>> descriptors;
  std::vector<jail::Loan> loans;
  std::optional<SavePlan> save_plan;
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
  auto jail_host = jail::probe_jail_host();
  Capabilities capabilities{.name = "firecracker",
                            .accelerator = Accelerator::kvm,
                            .hardware_isolation = true,
                            .why_no_kvm = {},
                            .vmm_version = version.text,
                            .needs_elf_kernel = true,
                            .isolation = jail_host.isolation};
  return std::unique_ptr<FirecrackerBackend>(new FirecrackerBackend(
      std::move(executor), std::move(*binary), options.cache_directory, std::move(capabilities), std::move(jail_host)));
}

FirecrackerBackend::FirecrackerBackend(asio::any_io_executor executor, std::filesystem::path binary,
                                       std::filesystem::path cache, Capabilities capabilities, jail::JailHost jail_host)
    : executor_(std::move(executor)),
      binary_(std::move(binary)),
      cache_(std::move(cache)),
      capabilities_(std::move(capabilities)),
      jail_host_(std::move(jail_host)) {}

VmConfig FirecrackerBackend::config_of(const LaunchSpec& spec) const {
  const auto to_read = [&](int number) { return has_names() ? jail_name(number) : path_of(number); };
  VmConfig config{.machine = {.vcpus = spec.vcpus, .memory_mib = spec.memory_mib},
                  .boot = {.kernel_image_path = to_read(kKernel),
                           .initrd_path = to_read(kInitramfs),
                           .boot_args = boot_arguments(spec.memory_to_save.has_value())},
                  .drives = {}};
  for (std::size_t slot = 0; slot < spec.disks.size(); ++slot) {
    const int number = kFirstDisk + static_cast<int>(slot);
    const bool read_only = spec.disks[slot].read_only;
    config.drives.push_back({.id = fmt::format("slot{}", slot),
                             .path_on_host = read_only ? to_read(number) : path_of(number),
                             .read_only = read_only});
  }
  return config;
}

Result<jail::VmmProfile> FirecrackerBackend::profile_of(const LaunchSpec& spec) const {
  ProfileOptions options{.binary = binary_,
                         .cache_directory = cache_,
                         .vcpus = spec.vcpus,
                         .memory_mib = spec.memory_mib,
                         .largest_file = 0};
  CR_ASSIGN(options.largest_file, largest_disk(spec));
  return firecracker_profile(options);
}

// Gives the process its files, by name or by descriptor; `options` borrows from the first two.
Result<void> FirecrackerBackend::hand_over(const LaunchSpec& spec, Inputs& inputs, base::SpawnOptions& options,
                                           jail::VmmProfile& profile) const {
  for (std::size_t slot = 0; slot < spec.disks.size(); ++slot) {
    const auto& disk = spec.disks[slot];
    const int number = kFirstDisk + static_cast<int>(slot);
    if (!disk.read_only || !has_names()) {
      options.fds.push_back({number, &disk.file});
      continue;
    }
    CR_ASSIGN(auto name, name_of(disk.file));
    inputs.to_read.emplace_back(number, std::move(name));
  }
  for (const auto& [number, path] : inputs.to_read) {
    if (has_names()) {
      profile.files.push_back({jail_name(number), jail::JailFile::Use::read, path});
      continue;
    }
    CR_ASSIGN(auto file, base::open_file(path, O_RDONLY));
    inputs.descriptors.emplace_back(number, std::move(file));
  }
  for (const auto& [number, file] : inputs.descriptors)
    options.fds.push_back({number, &file});
  // It opens each of them again. Those of a template go on to be the store's.
  for (const auto& inherited : options.fds) {
    CR_ASSIGN(auto loan, jail_host_.lend(*inherited.fd));
    inputs.loans.push_back(std::move(loan));
  }
  return {};
}

Result<std::unique_ptr<Vm>> FirecrackerBackend::start(const LaunchSpec& spec, Inputs inputs,
                                                      std::vector<ApiCall> calls) {
  CR_ASSIGN(auto logs, Logs::create(spec.console_log));
  CR_ASSIGN(auto profile, profile_of(spec));
  std::optional<base::TempDir> directory;
  if (!has_names()) {
    CR_ASSIGN(directory, base::TempDir::create(spec.directory, "vmm-"));
  }
  CR_ASSIGN(auto control, make_listening_socket());
  CR_ASSIGN(auto network, make_listening_socket());
  profile.directory = jail::VmmDirectory{.on_host = directory ? directory->path() : std::filesystem::path(),
                                         .sockets = {{listener_name(channel::kControlVsockPort), &control},
                                                     {listener_name(channel::kNetworkVsockPort), &network}}};
  base::SpawnOptions options;
  options.argv = arguments(binary_);
  options.fds = {{1, &logs.console_pipe.write},
                 {2, &logs.console_pipe.write},
                 {kLog, &logs.messages_pipe.write},
                 {kMetrics, &logs.metrics_pipe.write}};
  CR_TRY(hand_over(spec, inputs, options, profile));
  auto jailed = jail::spawn_jailed(std::move(options), profile, jail_host_);
  if (!jailed) return base::fail(base::Error(Code::failed_precondition, "vmm_unavailable", jailed.error().message));

  logs.drain(executor_);
  MachineParts parts{.directory = std::move(directory),
                     .control = StreamListener(executor_, std::move(control)),
                     .network = StreamListener(executor_, std::move(network)),
                     .loans = std::move(inputs.loans),
                     .jailed = std::move(*jailed)};
  auto machine = std::make_shared<Machine>(executor_, std::move(parts));
  machine->run(std::move(calls));
  return std::unique_ptr<Vm>(
      std::make_unique<FirecrackerVm>(std::move(machine), std::move(logs.console), std::move(inputs.save_plan)));
}

Result<std::unique_ptr<Vm>> FirecrackerBackend::launch(LaunchSpec spec) {
  Inputs inputs;
  inputs.to_read = {{kKernel, spec.kernel}, {kInitramfs, spec.initramfs}};
  auto config = config_of(spec);
  if (spec.memory_to_save) {
    CR_ASSIGN(auto memory, base::open_file(*spec.memory_to_save, O_RDWR | O_CREAT | O_EXCL, 0600));
    base::Fd state(::memfd_create("cleanroom-vm-state", MFD_CLOEXEC));
    base::Fd state_of_vmm(::fcntl(state.get(), F_DUPFD_CLOEXEC, 3));
    if (!state || !state_of_vmm) return base::fail(base::errno_error("make", "a memory file"));
    inputs.descriptors.emplace_back(kMemory, std::move(memory));
    inputs.descriptors.emplace_back(kState, std::move(state_of_vmm));
    inputs.save_plan.emplace(
        SavePlan{.names = {.state_path = path_of(kState), .memory_path = path_of(kMemory)}, .state = std::move(state)});
    config.machine.tracks_writes = true;
  }
  return start(spec, std::move(inputs), boot_calls(config));
}

Result<std::unique_ptr<Vm>> FirecrackerBackend::restore(LaunchSpec spec, const SnapshotFiles& files) {
  const auto to_read = [&](int number) { return has_names() ? jail_name(number) : path_of(number); };
  Inputs inputs;
  inputs.to_read = {{kMemory, files.memory}, {kState, files.state}};
  for (const auto& file : inputs.to_read)
    CR_TRY(jail_host_.let_read(file.second));
  return start(spec, std::move(inputs), load_calls({.state_path = to_read(kState), .memory_path = to_read(kMemory)}));
}

Result<std::string> FirecrackerBackend::snapshot_identity(const LaunchSpec& spec) const {
  std::string text;
  for (const auto& call : boot_calls(config_of(spec)))
    text += describe(call) + " " + call.body + "\n";
  CR_ASSIGN(const auto surroundings, surroundings_identity(binary_, spec));
  return text + surroundings;
}

}  // namespace cleanroom::backends::firecracker
