#include "src/backends/accelerator.h"

#include "src/backends/identity.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/base/os/temp_dir.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace cleanroom::backends {
namespace {

constexpr std::chrono::seconds kProbeLimit{10};
constexpr const char* kDevice = "/dev/kvm";
constexpr std::string_view kWorks = "works\n";

// Changes whenever the answer could: another boot, another QEMU, another owner or mode of the device.
std::string key_of(const std::filesystem::path& qemu, const struct stat& device) {
  struct stat program {};
  if (::stat(qemu.c_str(), &program) != 0) return {};
  const auto boot = boot_identity();
  if (!boot) return {};
  return fmt::format("kvm-{}-{:x}-{:x}-{:x}-{}-{}", *boot, program.st_ino, program.st_size, program.st_mtim.tv_sec,
                     device.st_mode, ::geteuid());
}

// vCPU set-up is where a broken nested KVM fails. The machine is paused; a QMP `quit` on stdin ends it.
KvmProbe ask_qemu(const std::filesystem::path& qemu) {
  auto input = base::make_pipe();
  if (!input) return {false, input.error().message};
  const auto written = base::write_all(input->write, "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n");
  if (!written) return {false, written.error().message};
  base::SpawnOptions options{.argv = {qemu, "-M", "microvm", "-accel", "kvm", "-cpu", "host", "-m", "64", "-nodefaults",
                                      "-no-user-config", "-display", "none", "-S", "-qmp", "stdio"}};
  options.fds.push_back({0, &input->read});
  const auto completed = base::run_process(std::move(options), base::deadline_in(kProbeLimit));
  if (!completed) return {false, "QEMU cannot use /dev/kvm: " + completed.error().message};
  if (completed->status.success()) return {true, {}};
  const std::string first_line = completed->errors.substr(0, completed->errors.find('\n'));
  return {false, fmt::format("QEMU cannot use /dev/kvm: {}",
                             first_line.empty() ? base::to_string(completed->status) : first_line)};
}

}  // namespace

KvmProbe probe_kvm(const std::filesystem::path& qemu, const std::filesystem::path& cache_directory) {
  struct stat device {};
  if (::stat(kDevice, &device) != 0) return {false, "there is no /dev/kvm"};
  if (::access(kDevice, R_OK | W_OK) != 0) {
    return {false, fmt::format("/dev/kvm: {} (is this user in the kvm group?)", std::strerror(errno))};
  }
  // Without them /dev/kvm is no hardware isolation, and an ordinary kernel does not get far on it (kvm_pvm).
  const auto processor = processor_identity();
  if (!processor || !has_virtualisation(*processor)) {
    return {false, "/dev/kvm is not backed by hardware: the processor shows neither VT-x nor AMD-V"};
  }
  const std::string key = cache_directory.empty() ? std::string{} : key_of(qemu, device);
  if (!key.empty()) {
    const auto kept = base::read_file(cache_directory / key, 4096);
    if (kept && *kept == kWorks) return {true, {}};
  }
  KvmProbe probe = ask_qemu(qemu);
  // A failure may be a busy host's, so only success is kept. A cache that cannot be written just saves no time.
  if (probe.works && !key.empty() && base::make_private_directories(cache_directory)) {
    (void)base::write_file_atomically(cache_directory / key, kWorks);
  }
  return probe;
}

}  // namespace cleanroom::backends
