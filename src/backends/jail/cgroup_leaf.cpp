// cgroup v2: https://docs.kernel.org/admin-guide/cgroup-v2.html. A cgroup that gives controllers to children holds no
// processes itself (but the root), so the usual place is beside the runner's own, under systemd in the same slice.
#include "src/backends/jail/cgroup_leaf.h"

#include "src/backends/jail/high_number.h"
#include "src/base/os/clock.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <sstream>
#include <vector>

namespace cleanroom::backends::jail {

using base::Code;
using base::Result;

namespace {

constexpr std::size_t kMaxProcFile = 1 << 20;
constexpr std::string_view kLeafPrefix = "cleanroom-vm-";
constexpr const char* kWeight = "50";
constexpr std::chrono::milliseconds kEmptyLimit{200};

base::Error no_cgroup(std::string_view why) {
  return base::Error(Code::failed_precondition, std::string(why));
}

// Where cgroup v2 is mounted, from lines such as `31 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw`.
Result<std::filesystem::path> cgroup2_mount() {
  CR_ASSIGN(const auto text, base::read_file("/proc/self/mountinfo", kMaxProcFile));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    std::istringstream fields(line);
    std::string id, parent, device, root, place;
    fields >> id >> parent >> device >> root >> place;
    if (root == "/") return std::filesystem::path(place);
  }
  return base::fail(no_cgroup("no cgroup v2 file system is mounted"));
}

Result<std::filesystem::path> own_cgroup(const std::filesystem::path& mount) {
  CR_ASSIGN(const auto text, base::read_file("/proc/self/cgroup", kMaxProcFile));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0::/")) return (mount / line.substr(4)).lexically_normal();
  }
  return base::fail(no_cgroup("this process is in no cgroup v2"));
}

bool has_word(const std::string& text, std::string_view word) {
  std::istringstream words(text);
  for (std::string one; words >> one;) {
    if (one == word) return true;
  }
  return false;
}

bool write_value(const std::filesystem::path& file, std::string_view value) {
  const auto opened = base::open_file(file, O_WRONLY);
  return opened && base::write_all(*opened, value);
}

bool controllers_given(const std::filesystem::path& directory) {
  const auto text = base::read_file(directory / "cgroup.subtree_control", 4096);
  return text && has_word(*text, "memory") && has_word(*text, "pids");
}

// Root may write everywhere: what it may use shows by systemd's mark of a delegated cgroup alone
// (systemd.resource-control(5)).
bool is_delegated(const std::filesystem::path& directory) {
  if (::geteuid() != 0) return true;
  char value = 0;
  for (const char* mark : {"trusted.delegate", "user.delegate"}) {
    if (::getxattr(directory.c_str(), mark, &value, 1) == 1 && value == '1') return true;
  }
  return false;
}

// Whether children of it can be made, with both controllers, and processes moved from `own` into them: that takes
// leave to write the cgroup.procs of what both have in common, which is this directory.
bool is_parent(const std::filesystem::path& directory) {
  if (!is_delegated(directory) || ::access(directory.c_str(), W_OK) != 0 ||
      ::access((directory / "cgroup.procs").c_str(), W_OK) != 0)
    return false;
  return controllers_given(directory) ||
         (write_value(directory / "cgroup.subtree_control", "+memory +pids") && controllers_given(directory));
}

// The leaf's name has its runner's process id: one that has ended left it.
void sweep_leaves(const std::filesystem::path& parent) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parent, error)) {
    const auto name = entry.path().filename().native();
    if (!name.starts_with(kLeafPrefix)) continue;
    pid_t runner = 0;
    std::from_chars(name.data() + kLeafPrefix.size(), name.data() + name.size(), runner);
    // A leaf that still has processes cannot be removed.
    if (runner > 0 && ::kill(runner, 0) != 0 && errno == ESRCH) ::rmdir(entry.path().c_str());
  }
}

}  // namespace

Result<std::filesystem::path> find_cgroup_parent() {
  CR_ASSIGN(const auto mount, cgroup2_mount());
  CR_ASSIGN(const auto own, own_cgroup(mount));
  // Not above the mount: what is there belongs to others.
  std::vector<std::filesystem::path> places = {own};
  if (own != mount && own.native().size() > mount.native().size() + 1) places.push_back(own.parent_path());
  for (const auto& place : places) {
    if (!is_parent(place)) continue;
    // These two are welcome where they are delegated; one write for each: all of a write or nothing is done.
    for (const char* controller : {"+cpu", "+io"})
      (void)write_value(place / "cgroup.subtree_control", controller);
    sweep_leaves(place);
    return place;
  }
  return base::fail(no_cgroup("no cgroup with the memory and pids controllers is delegated to this user"));
}

Result<CgroupLeaf> CgroupLeaf::create(const std::filesystem::path& parent, const CgroupLimits& limits) {
  static std::atomic<unsigned> count{0};
  const auto directory = parent / fmt::format("{}{}-{}", kLeafPrefix, ::getpid(), ++count);
  if (::mkdir(directory.c_str(), 0755) != 0) return base::fail(base::errno_error("make", directory.native()));
  CgroupLeaf leaf(directory, {});
  const auto set = [&](const char* file, const std::string& value) -> Result<void> {
    if (write_value(directory / file, value)) return {};
    return base::fail(base::errno_error("write", (directory / file).native()));
  };
  if (limits.memory_bytes != 0) CR_TRY(set("memory.max", std::to_string(limits.memory_bytes)));
  // A kernel without swap accounting has no such file, and what is not there limits nothing.
  if (::access((directory / "memory.swap.max").c_str(), F_OK) == 0) CR_TRY(set("memory.swap.max", "0"));
  CR_TRY(set("memory.oom.group", "1"));
  CR_TRY(set("pids.max", std::to_string(limits.processes)));
  // Beside 100, which others have: the runner and what else is here go on under a guest that spins.
  for (const char* weight : {"cpu.weight", "io.weight"}) {
    if (::access((directory / weight).c_str(), F_OK) == 0) CR_TRY(set(weight, kWeight));
  }
  CR_ASSIGN(const auto entrance, base::open_file(directory / "cgroup.procs", O_WRONLY));
  CR_ASSIGN(leaf.entrance_, at_high_number(entrance));
  return leaf;
}

CgroupLeaf& CgroupLeaf::operator=(CgroupLeaf&& other) noexcept {
  if (this != &other) {
    remove();
    directory_ = std::exchange(other.directory_, {});
    entrance_ = std::move(other.entrance_);
  }
  return *this;
}

// memory.events: lines `oom_kill 1`.
bool CgroupLeaf::ran_out_of_memory() const {
  if (directory_.empty()) return false;
  const auto events = base::read_file(directory_ / "memory.events", 4096);
  if (!events) return false;
  std::istringstream lines(*events);
  std::string name;
  for (std::uint64_t count = 0; lines >> name >> count;) {
    if (name == "oom_kill") return count > 0;
  }
  return false;
}

void CgroupLeaf::remove() noexcept {
  if (!directory_.empty() && ::rmdir(directory_.c_str()) != 0 && errno == EBUSY) remove_when_empty();
  directory_.clear();
}

// KVM's kernel threads are in the cgroup of their VMM, and end a moment after it.
void CgroupLeaf::remove_when_empty() const noexcept {
  const base::Fd events(::open((directory_ / "cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  const auto deadline = base::deadline_in(kEmptyLimit);
  std::array<char, 256> ignored;
  // A read arms the next event, so nothing happens unseen between the attempt and the wait.
  while (events && ::pread(events.get(), ignored.data(), ignored.size(), 0) > 0) {
    if (::rmdir(directory_.c_str()) == 0 || errno != EBUSY || base::time_left(deadline).count() == 0) return;
    pollfd entry{events.get(), POLLPRI, 0};
    ::poll(&entry, 1, static_cast<int>(base::time_left(deadline).count()));
  }
}

}  // namespace cleanroom::backends::jail
