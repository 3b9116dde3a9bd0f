// jail_stub: runs in a VMM's place and does what a VMM that was taken over would try. Static, and calls the kernel
// itself, so that what it reports is the jail's doing.
//
//   jail_stub try ATTEMPT      exit status: errno, 0 when the attempt worked; SIGSYS when the filter ended it
//   jail_stub open PATH FLAGS  the same; FLAGS is a number
//   jail_stub call NUMBER      a system call with six arguments that mean nothing; 0, whatever it answered
//   jail_stub files            every path that can be seen, one a line
//   jail_stub memory PATH      opens PATH as QEMU its memory; 0 when that is descriptor 0, of which a private copy can
//   be
//                              written, and the file cannot
//   jail_stub inherited        `fd N` for each open descriptor, `env TEXT` for each variable, `uid N`, `gid N`
//   jail_stub wait             prints "ready", waits until its input ends
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

extern char** environ;

namespace {

int socket_of(int family, int type) {
  return ::socket(family, type, 0);
}

int connect_to(const char* address) {
  const int fd = socket_of(AF_INET, SOCK_STREAM);
  if (fd < 0) return -1;
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(80);
  ::inet_pton(AF_INET, address, &to.sin_addr);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

int connect_abstract() {
  const int fd = socket_of(AF_UNIX, SOCK_STREAM);
  if (fd < 0) return -1;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, "\0jail-canary", 12);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(sa_family_t) + 12);
}

int execute(const char* path) {
  char* const arguments[] = {const_cast<char*>("x"), const_cast<char*>("call"), const_cast<char*>("39"), nullptr};
  return ::execve(path, arguments, environ);
}

// As the jail started this program: from descriptor 900.
int execute_again(const char* path) {
  const int file = ::open(path, O_RDONLY);
  if (file < 0 || ::dup2(file, 900) < 0) return -1;
  char* const arguments[] = {const_cast<char*>("x"), const_cast<char*>("call"), const_cast<char*>("39"), nullptr};
  return static_cast<int>(::syscall(SYS_execveat, 900, "", arguments, environ, AT_EMPTY_PATH));
}

int attempt(const std::string& name, const char* self) {
  const std::map<std::string, std::function<long()>> attempts = {
      {"socket-inet", [] { return socket_of(AF_INET, SOCK_STREAM); }},
      {"socket-inet6", [] { return socket_of(AF_INET6, SOCK_DGRAM); }},
      {"socket-unix", [] { return socket_of(AF_UNIX, SOCK_STREAM); }},
      {"socket-netlink", [] { return socket_of(AF_NETLINK, SOCK_RAW); }},
      {"socket-vsock", [] { return socket_of(AF_VSOCK, SOCK_STREAM); }},
      {"socket-packet", [] { return socket_of(AF_PACKET, SOCK_RAW); }},
      {"connect-loopback", [] { return connect_to("127.0.0.1"); }},
      {"connect-metadata", [] { return connect_to("169.254.169.254"); }},
      {"connect-abstract", [] { return connect_abstract(); }},
      {"execve", [self] { return execute(self); }},
      {"execveat", [self] { return execute_again(self); }},
      {"fork", [] { return ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0); }},
      {"ptrace", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }},
      {"kill", [] { return ::kill(-1, 0); }},
      {"kill-parent", [] { return ::kill(::getppid(), 0); }},
      {"mount", [] { return ::mount("tmpfs", "/dev", "tmpfs", 0, nullptr); }},
      {"unshare", [] { return ::unshare(CLONE_NEWUSER); }},
      {"setns", [] { return ::setns(0, 0); }},
      {"setuid", [] { return ::syscall(SYS_setuid, 0); }},
      {"chroot", [] { return ::chroot("/"); }},
      {"mkdir", [] { return ::mkdirat(AT_FDCWD, "/x", 0700); }},
      {"bpf", [] { return ::syscall(SYS_bpf, 0, nullptr, 0); }},
      {"userfaultfd", [] { return ::syscall(SYS_userfaultfd, 0); }},
      {"io_uring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }},
      {"memfd", [] { return ::syscall(SYS_memfd_create, "x", 0); }},
      {"raise-limit",
       [] {
         struct {
           unsigned long now, most;
         } limit{4096, 4096};
         return ::syscall(SYS_prlimit64, 0, 7 /* RLIMIT_NOFILE */, &limit, nullptr);
       }},
  };
  const auto found = attempts.find(name);
  if (found == attempts.end()) return 255;
  return found->second() < 0 ? errno : 0;
}

void list_files() {
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("/", error))
    std::printf("%s\n", entry.path().c_str());
  if (error) std::printf("error %s\n", error.message().c_str());
}

int try_memory(const char* path) {
  constexpr std::size_t kPage = 4096;
  if (::open(path, O_RDWR) != 0) return 1;
  auto* copy = static_cast<char*>(::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, 0));
  if (copy == MAP_FAILED) return 2;
  *copy = 'X';
  if (::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0) != MAP_FAILED) return 3;
  void* shared = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, 0, 0);
  if (shared == MAP_FAILED || ::mprotect(shared, kPage, PROT_READ | PROT_WRITE) == 0) return 4;
  if (::pwrite(0, "X", 1, 0) >= 0 || ::ftruncate(0, 0) == 0) return 5;
  if (::open(path, O_RDWR | O_CLOEXEC) >= 0 || ::open("/proc/self/fd/0", O_RDWR | O_CLOEXEC) >= 0) return 6;
  return 0;
}

void list_inherited() {
  for (int fd = 0; fd < 1100; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) std::printf("fd %d\n", fd);
  }
  for (char** variable = environ; *variable != nullptr; ++variable)
    std::printf("env %s\n", *variable);
  std::printf("uid %u\ngid %u\n", ::getuid(), ::getgid());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  const std::string first = argc > 2 ? argv[2] : "";
  if (command == "try") return attempt(first, argv[0]);
  if (command == "open") return ::open(first.c_str(), argc > 3 ? std::atoi(argv[3]) : O_RDONLY) < 0 ? errno : 0;
  if (command == "memory") return try_memory(first.c_str());
  if (command == "call") {
    ::syscall(std::atol(first.c_str()), -1L, -1L, -1L, -1L, -1L, -1L);
    return 0;
  }
  if (command == "files") list_files();
  if (command == "inherited") list_inherited();
  if (command == "wait") {
    std::printf("ready\n");
    std::fflush(stdout);
    char byte = 0;
    while (::read(0, &byte, 1) > 0) {
    }
  }
  return 0;
}
