// In the child, between fork and exec. The order matters: the cgroup while its file can still be opened, the program
// before the number of descriptors is limited, rights last, the filter after everything. An ordinary user may mount in
// a user namespace only, so that comes first. Root mounts as root, in namespaces that the VMM has no rights over
// whatever happens, and then becomes a user that may do nothing.
// user_namespaces(7), capabilities(7), seccomp(2).
#include "src/backends/jail/confinement.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cleanroom::backends::jail {
namespace {

// The VMM's user and group inside. Not 0: exec would give it capabilities there.
constexpr unsigned kInnerId = 1000;
constexpr const char* kHostName = "vmm";

bool write_text(int directory, const char* name, const char* text, std::size_t size) {
  const int file = ::openat(directory, name, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool written = ::write(file, text, size) == static_cast<ssize_t>(size);
  ::close(file);
  return written;
}

bool write_text(int directory, const char* name, const std::string& text) {
  return write_text(directory, name, text.data(), text.size());
}

// None now, and none at an exec, whoever the user is. Without CAP_SETPCAP the bounding set stays as it is; then there
// is nothing to lose, and no_new_privs keeps it so.
bool drop_capabilities() {
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  return ::syscall(SYS_capset, &header, none) == 0;
}

bool limit(int resource, std::uint64_t value) {
  rlimit current{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &current) != 0) return false;
  const rlim_t bound = value < current.rlim_max ? value : current.rlim_max;
  const rlimit wanted{bound, bound};
  return ::setrlimit(static_cast<__rlimit_resource>(resource), &wanted) == 0;
}

// One byte, and the descriptor beside it (unix(7)).
bool send_descriptor(int way, int descriptor) {
  char byte = 0;
  iovec content{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptor)] = {};
  msghdr message{};
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  return ::sendmsg(way, &message, MSG_NOSIGNAL) == 1;
}

}  // namespace

Confinement::Confinement(Options options)
    : options_(std::move(options)),
      uid_map_(fmt::format("{} {} 1\n", kInnerId, options_.user ? options_.user->uid : ::geteuid())),
      gid_map_(fmt::format("{} {} 1\n", kInnerId, options_.user ? options_.user->gid : ::getegid())) {}

unsigned long Confinement::namespaces() const {
  if (!options_.root) return 0;
  // The cgroup namespace comes later: its root is the cgroup that the child is in by then. As root, the user's too.
  constexpr unsigned long kFirst = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  return options_.user ? kFirst : kFirst | CLONE_NEWUSER;
}

// The maps of this process, and that its memory is never in a core: that filter outlives exec, as being dumpable does
// not, and a core that goes to a program knows no RLIMIT_CORE. `proc` is its directory in procfs.
bool Confinement::map_user(int proc) const noexcept {
  // The files of a process that cannot be dumped are root's, and the runner is one (forbid_core_dumps).
  ::prctl(PR_SET_DUMPABLE, 1);
  const bool mapped = write_text(proc, "setgroups", "deny", 4) && write_text(proc, "gid_map", gid_map_) &&
                      write_text(proc, "uid_map", uid_map_) && write_text(proc, "coredump_filter", "0", 1);
  const int error_number = errno;
  ::prctl(PR_SET_DUMPABLE, 0);
  errno = error_number;
  return mapped;
}

const char* Confinement::become_user() const noexcept {
  const auto& user = *options_.user;
  const gid_t groups[] = {user.device_group};
  // Not by the C library, which would have the parent's other threads do the same.
  if (::syscall(SYS_setgroups, user.device_group != 0 ? 1 : 0, groups) != 0 ||
      ::syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0 ||
      ::syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0)
    return "change the user of";
  if (::unshare(CLONE_NEWUSER) != 0) return "make a user namespace for";
  return nullptr;
}

const char* Confinement::enter_namespaces() const noexcept {
  const int proc = ::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (proc < 0) return "find the process of";
  if (!options_.user && !map_user(proc)) return "map the user of";
  if (::unshare(CLONE_NEWCGROUP) != 0) return "make a cgroup namespace for";
  if (const char* failed = options_.root->enter()) return failed;
  if (::sethostname(kHostName, std::strlen(kHostName)) != 0) return "name the host of";
  if (options_.user) {
    if (const char* failed = become_user()) return failed;
    if (!map_user(proc)) return "map the user of";
  }
  ::close(proc);
  return nullptr;
}

const char* Confinement::enter_directory() const noexcept {
  if (::chdir(options_.directory.empty() ? "/" : options_.directory.c_str()) != 0) return "change the directory of";
  for (const auto& [socket, address] : options_.sockets) {
    // One connection is all that anyone takes.
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(socket, 1) != 0)
      return "name the sockets of";
  }
  if (options_.directory_way < 0) return nullptr;
  const int directory = ::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0 || !send_descriptor(options_.directory_way, directory)) return "give away the directory of";
  return nullptr;
}

bool Confinement::limit_resources() const noexcept {
  const auto& limits = options_.limits;
  // Counted within the user namespace; without one it would count all that this user runs.
  if (options_.root && !limit(RLIMIT_NPROC, limits.threads)) return false;
  return limit(RLIMIT_CORE, 0) && limit(RLIMIT_MEMLOCK, limits.locked_bytes) &&
         limit(RLIMIT_FSIZE, limits.file_bytes) && limit(RLIMIT_NOFILE, limits.open_files);
}

const char* Confinement::enter(const char* program) const noexcept {
  if (options_.cgroup_entrance >= 0 && ::write(options_.cgroup_entrance, "0", 1) != 1) return "limit, by cgroup,";
  if (options_.root) {
    if (const char* failed = enter_namespaces()) return failed;
  }
  if (const char* failed = enter_directory()) return failed;
  if (program != nullptr) {
    const int file = ::open(program, O_RDONLY | O_CLOEXEC);
    if (file < 0 || ::dup3(file, kProgramFd, O_CLOEXEC) < 0) return "open";
  }
  if (!limit_resources()) return "limit the resources of";
  if (!drop_capabilities()) return "drop the capabilities of";
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return "forbid new privileges to";
  // A change of identity or capabilities may have cleared it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return "tie to its parent";
  if (options_.seccomp && !options_.seccomp->install()) return "filter the system calls of";
  return nullptr;
}

}  // namespace cleanroom::backends::jail
