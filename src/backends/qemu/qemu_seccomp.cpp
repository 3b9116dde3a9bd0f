// The system calls of QEMU as this backend runs it: collected from strace of machines that boot, use their disks and
// streams, are saved, restored and killed, under TCG and KVM, and of what Debian's glibc needs besides.
#include "src/backends/qemu/qemu_profile.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <sys/prctl.h>

namespace cleanroom::backends::qemu {
namespace {

// Words.
constexpr const char* kLoaderAndLibrary =
    "access arch_prctl brk close exit exit_group faccessat2 fchdir fcntl fstat getdents64 getegid geteuid getgid "
    "getpid "
    "getrandom gettid getuid lseek lstat mmap mprotect mremap munmap newfstatat openat pread64 prlimit64 read readlink "
    "readlinkat restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn set_robust_list set_tid_address "
    "sigaltstack stat statx uname write writev ";
constexpr const char* kThreadsAndTime =
    "clock_getres clock_gettime clock_nanosleep epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 futex getcpu "
    "gettimeofday membarrier nanosleep pipe2 poll ppoll rt_sigpending rt_sigtimedwait sched_getaffinity sched_yield "
    "signalfd4 sysinfo tgkill timer_create timer_delete timer_settime timerfd_create timerfd_settime ";
constexpr const char* kDisks =
    "dup dup2 dup3 fadvise64 fallocate fdatasync fstatfs fsync ftruncate madvise preadv preadv2 pwrite64 pwritev "
    "pwritev2 readv sync_file_range ";
// Of the sockets that it is given; it can make none.
constexpr const char* kStreams =
    "getpeername getsockname getsockopt recvfrom recvmsg sendmsg sendto setsockopt shutdown ";
constexpr const char* kOwnSandbox = "seccomp ";  // -sandbox on

// Tried for hints about memory and scheduling, and by libraries for what is not in the jail anyway.
constexpr const char* kRefused =
    "get_mempolicy getcwd getxattr io_uring_setup mbind memfd_create mlock mlockall sched_getattr sched_getparam "
    "sched_getscheduler sched_setaffinity sched_setattr sched_setscheduler set_mempolicy setpriority statfs";
// The flags of clone3 are behind a pointer, where a filter cannot look; the C library uses clone() then.
constexpr const char* kUnknown = "clone3 close_range openat2";

constexpr std::uint64_t kIoctlGroup = 0xff00;
constexpr std::uint64_t kKvmGroup = 0xae00;  // KVMIO

std::vector<jail::ConditionalCall> sometimes_allowed(Accelerator accelerator) {
  std::vector<jail::ConditionalCall> calls = {jail::clone_of_threads()};
  for (const int operation : {PR_SET_NAME, PR_SET_TIMERSLACK, PR_SET_NO_NEW_PRIVS, PR_MCE_KILL, PR_GET_SECCOMP})
    calls.push_back(jail::call_with("prctl", 0, operation));
  for (const int request : {TCGETS, FIONBIO, FIONREAD})
    calls.push_back(jail::call_with("ioctl", 1, request));
  if (accelerator == Accelerator::kvm)
    calls.push_back({.name = "ioctl", .argument = 1, .mask = kIoctlGroup, .value = kKvmGroup});
  return calls;
}

}  // namespace

jail::SeccompProfile qemu_seccomp(Accelerator accelerator) {
  return {
      .allowed = jail::call_names(std::string(kLoaderAndLibrary) + kThreadsAndTime + kDisks + kStreams + kOwnSandbox),
      .conditional = sometimes_allowed(accelerator),
      .refused = jail::call_names(kRefused),
      .unknown = jail::call_names(kUnknown)};
}

// QEMU (file_ram_open) opens its memory with O_RDWR and nothing else, and has no other way; what else it opens for
// writing, /dev/kvm, has O_CLOEXEC. mmap(MAP_PRIVATE) is content with a descriptor that only reads.
jail::SeccompProfile with_memory_as_input(jail::SeccompProfile profile) {
  std::erase(profile.allowed, "openat");
  const auto open_with = [](std::uint64_t mask, std::uint64_t flags) {
    return jail::ConditionalCall{.name = "openat", .argument = 2, .mask = mask, .value = flags};
  };
  profile.conditional.push_back(open_with(O_ACCMODE, O_RDONLY));
  profile.conditional.push_back(open_with(O_ACCMODE | O_CLOEXEC, O_RDWR | O_CLOEXEC));
  profile.answered_with_zero.push_back(jail::call_with("openat", 2, O_RDWR));
  return profile;
}

}  // namespace cleanroom::backends::qemu
