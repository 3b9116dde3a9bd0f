#include "guest/cgroup.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace cleanroom::guest {
namespace {

constexpr const char* kRoot = "/sys/fs/cgroup";
constexpr std::uint64_t kAgentMemory = 48ULL << 20;  // stays free of the job: agent, tar helpers, kernel
constexpr int kMaxProcesses = 24'000;                // below the kernel's pid_max of 32768: the agent can still fork

base::Result<void> set(const std::string& file, std::string_view value) {
  CR_ASSIGN(const auto fd, base::open_file(file, O_WRONLY));
  return base::write_all(fd, value);
}

// Without a controller its limit is missing, nothing else: the job runs all the same.
void set_if_possible(const std::string& file, std::string_view value) {
  if (auto done = set(file, value); !done) return;
}

void enable_controllers(const std::string& directory) {
  for (const auto* controller : {"+memory", "+pids", "+cpu", "+io", "+cpuset"})
    set_if_possible(directory + "/cgroup.subtree_control", controller);
}

}  // namespace

base::Result<void> prepare_cgroups() {
  if (::mount("cgroup2", kRoot, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
    return base::fail(base::errno_error("mount", kRoot));
  }
  const std::string job = std::string(kRoot) + "/job";
  enable_controllers(kRoot);
  if (::mkdir(job.c_str(), 0755) != 0) return base::fail(base::errno_error("make", job));
  enable_controllers(job);
  struct sysinfo info {};
  ::sysinfo(&info);
  const std::uint64_t total = std::uint64_t{info.totalram} * info.mem_unit;
  if (total > 2 * kAgentMemory) set_if_possible(job + "/memory.max", fmt::format("{}", total - kAgentMemory));
  set_if_possible(job + "/pids.max", fmt::format("{}", kMaxProcesses));
  return {};
}

base::Result<Cgroup> Cgroup::create(const std::string& name) {
  std::string path = fmt::format("{}/job/{}", kRoot, name);
  if (::mkdir(path.c_str(), 0755) != 0) return base::fail(base::errno_error("make", path));
  CR_ASSIGN(auto directory, base::open_file(path, O_RDONLY | O_DIRECTORY));
  return Cgroup(std::move(path), std::move(directory));
}

Cgroup::~Cgroup() {
  if (directory_) ::rmdir(path_.c_str());  // groups that the job made inside stay until the VM ends
}

bool Cgroup::had_memory_kill() const {
  const auto events = base::read_file(path_ + "/memory.events", 4096);
  if (!events) return false;
  const auto at = events->find("oom_kill ");
  return at != std::string::npos && events->compare(at + 9, 2, "0\n") != 0;
}

void Cgroup::kill_all() {
  set_if_possible(path_ + "/cgroup.kill", "1");
}

}  // namespace cleanroom::guest
