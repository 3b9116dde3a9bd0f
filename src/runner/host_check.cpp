#include "src/runner/host_check.h"

#include "src/backends/accelerator.h"
#include "src/backends/firecracker/version.h"
#include "src/backends/guest_kernel.h"
#include "src/backends/jail/jail.h"
#include "src/backends/qemu/qemu_version.h"
#include "src/base/os/io.h"
#include "src/base/os/process.h"
#include "src/credentials/bindings.h"
#include "src/policy/ceiling.h"
#include "src/policy/operator_config.h"
#include "src/runner/host_paths.h"

#include <fmt/ranges.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace cleanroom::runner {

using base::Result;

namespace {

constexpr std::uint64_t kLowSpace = std::uint64_t{5} << 30;
constexpr std::size_t kSmallFile = 64 * 1024;

std::string file_text(const char* path) {
  return base::read_file(path, kSmallFile).value_or("");
}

HostCheck missing(std::string name, const base::Error& error, std::string why) {
  return {std::move(name), CheckState::missing, error.describe(), std::move(why), error.hint};
}

HostCheck check_operator_files(const policy::OperatorPaths& paths, policy::OperatorConfig& config) {
  constexpr const char* kWhy = "no job starts under operator files that cannot be trusted or read";
  auto loaded = policy::load_operator_config(paths);
  if (!loaded) return missing("operator_files", loaded.error(), kWhy);
  config = std::move(*loaded);
  if (const auto ceiling = policy::load_ceiling(paths); !ceiling)
    return missing("operator_files", ceiling.error(), kWhy);
  if (const auto bindings = credentials::load_bindings(paths); !bindings)
    return missing("operator_files", bindings.error(), kWhy);
  return {"operator_files", CheckState::ok, config.file ? config.file->native() : "none: all defaults", "", ""};
}

HostCheck check_qemu(const Result<std::filesystem::path>& binary) {
  constexpr const char* kWhy = "QEMU is the VMM";
  constexpr const char* kMend = "apt-get install qemu-system-x86";
  if (!binary) return {"qemu", CheckState::missing, binary.error().describe(), kWhy, kMend};
  const auto version = backends::qemu::ask_qemu_version(*binary);
  if (!version) return {"qemu", CheckState::missing, version.error().describe(), kWhy, kMend};
  const auto found = fmt::format("{} at {}", to_string(*version), binary->native());
  if (backends::qemu::has_virtio_fix(*version)) return {"qemu", CheckState::ok, found, "", ""};
  return {"qemu", CheckState::missing, found,
          "it lacks the fix of CVE-2024-3446: a guest can write beyond a virtio device's memory",
          "apt-get install --only-upgrade qemu-system-x86 (7.2.11, 8.2.3, 9.0 or later)"};
}

// Nothing needs Firecracker unless the operator names it.
HostCheck check_firecracker(const policy::OperatorConfig& config, const HostPaths& paths, BackendSummary& summary) {
  const auto& configured = config.firecracker.binary_path;
  const bool wanted = config.default_backend == "firecracker" || configured.has_value();
  const auto bad = wanted ? CheckState::missing : CheckState::advice;
  constexpr const char* kMend = "install Firecracker 1.14.4, 1.15.1 or newer, or set backends.firecracker.binary_path";
  const auto binary = base::find_program(configured ? configured->native() : "firecracker");
  const auto version = binary ? backends::firecracker::program_version(*binary, paths.cache / "probes")
                              : base::fail(base::Error(binary.error()));
  if (!version) {
    summary.why_not = binary ? version.error().message : "it is not installed";
    if (!wanted && !binary) return {"firecracker", CheckState::ok, "not installed, and not needed", "", ""};
    return {"firecracker", bad, version.error().describe(), "it is the backend that config.yaml names", kMend};
  }
  const auto found = fmt::format("{} at {}", version->text, binary->native());
  if (const auto good = backends::firecracker::check_version(*version); !good) {
    summary.why_not = good.error().message;
    return {"firecracker", bad, found, "it lacks fixes that keep a guest in: " + good.error().message, kMend};
  }
  const auto probe = backends::probe_kvm_directly();
  summary.usable = probe.works;
  summary.why_not = probe.reason;
  summary.accelerator = "kvm";
  summary.hardware_isolation = probe.works;
  summary.templates = config.templates.enable;
  return {"firecracker", CheckState::ok, found, "", ""};
}

HostCheck check_kvm(const backends::KvmProbe& probe, const policy::OperatorConfig& config) {
  if (probe.works) return {"kvm", CheckState::ok, "works", "", ""};
  const bool permission = ::access("/dev/kvm", F_OK) == 0 && ::access("/dev/kvm", R_OK | W_OK) != 0;
  return {"kvm", CheckState::advice, probe.reason,
          config.allow_emulation
              ? "VMs are emulated, which is slow and no security boundary; config.yaml accepts that (allow_emulation)"
              : "VMs are emulated, which is slow and no security boundary; jobs of Buildkite are refused",
          permission ? "sudo usermod -aG kvm $USER, then log in again"
                     : "run on a host with VT-x or AMD-V switched on (modprobe kvm_intel or kvm_amd)"};
}

HostCheck check_kernel(const policy::OperatorConfig& config, const HostPaths& paths) {
  const auto kernel = backends::find_guest_kernel(config.qemu.kernel_image, paths.data);
  if (!kernel) return missing("guest_kernel", kernel.error(), "every VM boots it");
  return {"guest_kernel", CheckState::ok, fmt::format("{} at {}", kernel->version, kernel->image.native()), "", ""};
}

HostCheck check_space(const HostPaths& paths) {
  auto place = paths.data;
  while (!std::filesystem::exists(place) && place.has_relative_path())
    place = place.parent_path();
  struct statvfs space {};
  if (::statvfs(place.c_str(), &space) != 0)
    return missing("disk_space", base::errno_error("look at", place.native()), "images and disks of jobs go there");
  const std::uint64_t free = space.f_bavail * space.f_frsize;
  const auto found = fmt::format("{} GiB free at {}", free >> 30, place.native());
  if (free >= kLowSpace) return {"disk_space", CheckState::ok, found, "", ""};
  return {"disk_space", CheckState::advice, found,
          "images, templates and disks of jobs go there; a job ends when it is full",
          "cleanroom image gc --unused-days 7, or set XDG_DATA_HOME and XDG_STATE_HOME to a larger disk"};
}

HostCheck check_writable(const HostPaths& paths) {
  for (const auto& directory : {paths.data, paths.cache, paths.state}) {
    auto place = directory;
    while (!std::filesystem::exists(place) && place.has_relative_path())
      place = place.parent_path();
    if (::access(place.c_str(), W_OK | X_OK) == 0) continue;
    return {"directories", CheckState::missing, fmt::format("cannot write '{}'", place.native()),
            "images, caches and run records go there",
            "make it this user's, or set XDG_DATA_HOME, XDG_CACHE_HOME and XDG_STATE_HOME"};
  }
  return {"directories", CheckState::ok,
          paths.data.native() + ", " + paths.cache.native() + ", " + paths.state.native(), "", ""};
}

HostCheck check_isolation(const backends::jail::Isolation& isolation, const policy::OperatorConfig& config) {
  constexpr const char* kMend =
      "run as an ordinary user, where user namespaces are allowed (sysctl user.max_user_namespaces, "
      "kernel.apparmor_restrict_unprivileged_userns; in a container its seccomp profile), with a delegated cgroup";
  const auto absent = isolation.missing({model::all_walls().begin(), model::all_walls().end()});
  if (absent.empty()) return {"vmm_isolation", CheckState::ok, "every wall around the VMM stands", "", ""};
  const auto found = fmt::format("absent: {}", fmt::join(absent, "; "));
  if (!isolation.missing(config.require_isolation).empty()) {
    return {"vmm_isolation", CheckState::missing, found,
            "config.yaml requires more (require_isolation): jobs are refused", kMend};
  }
  return {"vmm_isolation", CheckState::advice, found, "a VMM that was taken over reaches more of this host", kMend};
}

// Pages that two VMs share by their content tell one of them what the other holds.
HostCheck check_page_sharing() {
  if (file_text("/sys/kernel/mm/ksm/run").starts_with("1")) {
    return {"page_sharing", CheckState::advice, "kernel same-page merging is on",
            "a VM can tell from timing what pages another one has", "echo 2 | sudo tee /sys/kernel/mm/ksm/run"};
  }
  return {"page_sharing", CheckState::ok, "kernel same-page merging is off", "", ""};
}

HostCheck check_swap() {
  const auto swaps = file_text("/proc/swaps");
  if (std::count(swaps.begin(), swaps.end(), '\n') <= 1) return {"swap", CheckState::ok, "none", "", ""};
  return {"swap", CheckState::advice, "swap is on", "what a job has in memory may be written to a disk",
          "sudo swapoff -a, or encrypt it"};
}

HostCheck check_threads() {
  if (!file_text("/sys/devices/system/cpu/smt/active").starts_with("1"))
    return {"smt", CheckState::ok, "processor threads share no core", "", ""};
  return {"smt", CheckState::advice, "processor threads share cores",
          "jobs that do not trust each other can spy through a shared core",
          "echo off | sudo tee /sys/devices/system/cpu/smt/control"};
}

}  // namespace

std::string_view to_string(CheckState state) {
  switch (state) {
    case CheckState::ok:
      return "ok";
    case CheckState::advice:
      return "advice";
    case CheckState::missing:
      return "missing";
  }
  return "missing";
}

bool HostReport::can_run_jobs() const {
  return std::none_of(checks.begin(), checks.end(),
                      [](const auto& check) { return check.state == CheckState::missing; });
}

HostReport check_host() {
  HostReport report;
  auto& checks = report.checks;
  policy::OperatorConfig config;
  checks.push_back(check_operator_files(policy::OperatorPaths::from_environment(), config));
  const auto paths = HostPaths::find();
  if (!paths) {
    checks.push_back(missing("directories", paths.error(), "Cleanroom keeps its files there"));
    return report;
  }
  checks.push_back(check_writable(*paths));
  checks.push_back(check_space(*paths));
  const auto binary =
      base::find_program(config.qemu.binary_path ? config.qemu.binary_path->native() : "qemu-system-x86_64");
  checks.push_back(check_qemu(binary));
  BackendSummary qemu{.name = "qemu", .usable = checks.back().state == CheckState::ok, .why_not = checks.back().why};
  if (qemu.usable) {
    const auto probe = backends::probe_kvm(*binary, paths->cache / "probes");
    checks.push_back(check_kvm(probe, config));
    qemu.accelerator = probe.works ? "kvm" : "tcg";
    qemu.hardware_isolation = probe.works;
    qemu.templates = config.templates.enable;
  }
  report.backends.push_back(std::move(qemu));
  BackendSummary firecracker{.name = "firecracker"};
  checks.push_back(check_firecracker(config, *paths, firecracker));
  report.backends.push_back(std::move(firecracker));
  report.isolation = backends::jail::probe_jail_host().isolation;
  checks.push_back(check_isolation(report.isolation, config));
  checks.push_back(check_kernel(config, *paths));
  checks.push_back(check_page_sharing());
  checks.push_back(check_swap());
  checks.push_back(check_threads());
  return report;
}

}  // namespace cleanroom::runner
