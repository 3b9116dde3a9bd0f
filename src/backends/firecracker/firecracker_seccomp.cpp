// The system calls of Firecracker as this backend runs it: collected from strace of machines that boot, use their disks
// and streams, are saved and restored; the union of the filters of its threads (resources/seccomp in its repository);
// and what a build with glibc does in place of musl.
#include "src/backends/firecracker/firecracker_profile.h"

#include <asm/ioctls.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

namespace cleanroom::backends::firecracker {
namespace {

// Words.
constexpr const char* kLoaderAndLibrary =
    "access arch_prctl brk close exit exit_group faccessat2 fcntl fstat futex getpid getrandom gettid lseek lstat mmap "
    "mprotect mremap munmap newfstatat open openat poll pread64 prlimit64 read readlink readlinkat restart_syscall "
    "rseq "
    "rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield set_robust_list set_tid_address "
    "sigaltstack stat statx uname write writev ";
constexpr const char* kEventsAndTime =
    "clock_getres clock_gettime clock_nanosleep epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 gettimeofday "
    "membarrier nanosleep pipe2 ppoll timerfd_create timerfd_gettime timerfd_settime ";
constexpr const char* kDisksAndMemory =
    "dup dup2 dup3 fallocate fdatasync fsync ftruncate madvise memfd_create mincore msync preadv pwrite64 pwritev "
    "readv ";
// What they reach is in the VMM's network namespace and its root: nothing but its own directory.
constexpr const char* kStreams =
    "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmsg sendmsg sendto setsockopt "
    "shutdown ";
constexpr const char* kOwnFilters = "seccomp ";

constexpr const char* kRefused =
    "getcwd io_uring_setup mlock mlockall sched_getscheduler sched_setaffinity sched_setscheduler setpriority statfs";
constexpr const char* kUnknown = "clone3 close_range openat2";

constexpr std::uint64_t kIoctlGroup = 0xff00;
constexpr std::uint64_t kKvmGroup = 0xae00;  // KVMIO
// With which a vCPU is fetched from its guest: the first real-time signal, which each C library counts for itself.
constexpr int kGlibcFirst = 34;
constexpr int kMuslFirst = 35;

std::vector<jail::ConditionalCall> sometimes_allowed() {
  std::vector<jail::ConditionalCall> calls = {jail::clone_of_threads(), jail::call_with("socket", 0, AF_UNIX)};
  for (const int operation : {PR_SET_NAME, PR_SET_NO_NEW_PRIVS})
    calls.push_back(jail::call_with("prctl", 0, operation));
  for (const int request : {TCGETS, TCSETS, TIOCGWINSZ, FIONBIO, FIONREAD, FIOCLEX})
    calls.push_back(jail::call_with("ioctl", 1, request));
  calls.push_back({.name = "ioctl", .argument = 1, .mask = kIoctlGroup, .value = kKvmGroup});
  for (const int number : {SIGABRT, kGlibcFirst, kMuslFirst}) {
    calls.push_back(jail::call_with("tkill", 1, number));
    calls.push_back(jail::call_with("tgkill", 2, number));
  }
  return calls;
}

}  // namespace

jail::SeccompProfile firecracker_seccomp() {
  return {.allowed = jail::call_names(std::string(kLoaderAndLibrary) + kEventsAndTime + kDisksAndMemory + kStreams +
                                      kOwnFilters),
          .conditional = sometimes_allowed(),
          .refused = jail::call_names(kRefused),
          .answered_with_zero = {},
          .unknown = jail::call_names(kUnknown)};
}

}  // namespace cleanroom::backends::firecracker
