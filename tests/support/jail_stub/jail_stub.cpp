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
//   jail_stub reopen PATH FLAGS    opens PATH to read, and that descriptor again with FLAGS; the second's errno
//   jail_stub dial NAME        connects to a socket in its directory and says "hello"; errno
//   jail_stub fill             writes into its directory until it is full: prints how many bytes that were
//
// Under one of these names, whatever its arguments: a Firecracker, as far as --version goes, that
//   eat-memory                 writes to more and more memory
//   make-threads               makes threads as long as it can, prints `threads N`, and ends
//   sit                        waits for ever
// With `qemu-` before the name it says that it is QEMU.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <pthread.h>
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

int reopen(const char* path, int flags) {
  const int file = ::open(path, O_RDONLY);
  if (file < 0) return 254;
  return ::open(("/proc/self/fd/" + std::to_string(file)).c_str(), flags) < 0 ? errno : 0;
}

int dial(const std::string& name) {
  const int fd = socket_of(AF_UNIX, SOCK_STREAM);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, name.data(), name.size());
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return errno;
  return ::write(fd, "hello", 5) == 5 ? 0 : errno;
}

void fill() {
  const int file = ::open("big", O_WRONLY | O_CREAT, 0600);
  char page[4096] = {};
  long bytes = 0;
  for (ssize_t n = 0; (n = ::write(file, page, sizeof page)) > 0;)
    bytes += n;
  std::printf("%ld\n", bytes);
}

[[noreturn]] void eat_memory() {
  constexpr std::size_t kStep = 1 << 20;
  for (;;) {
    void* more = ::mmap(nullptr, kStep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (more == MAP_FAILED) std::exit(2);
    std::memset(more, 1, kStep);
  }
}

void* wait_for_ever(void* /*unused*/) {
  for (;;)
    ::poll(nullptr, 0, -1);
}

int make_threads() {
  int threads = 1;
  for (pthread_t thread{}; ::pthread_create(&thread, nullptr, wait_for_ever, nullptr) == 0;)
    ++threads;
  std::printf("threads %d\n", threads);
  return 3;
}

constexpr const char* kQemu = "qemu-";

int stand_in(std::string name, const std::string& argument) {
  const bool is_qemu = name.starts_with(kQemu);
  if (is_qemu) name.erase(0, std::strlen(kQemu));
  if (argument == "--version") {
    std::printf("%s\n", is_qemu ? "QEMU emulator version 7.2.22" : "Firecracker v1.15.1");
    return 0;
  }
  if (name == "eat-memory") eat_memory();
  if (name == "make-threads") return make_threads();
  wait_for_ever(nullptr);
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
  const std::string name = std::filesystem::path(argv[0]).filename();
  for (const std::string known : {"eat-memory", "make-threads", "sit"})
    if (name == known || name == kQemu + known) return stand_in(name, command);
  if (command == "try") return attempt(first, argv[0]);
  if (command == "open") return ::open(first.c_str(), argc > 3 ? std::atoi(argv[3]) : O_RDONLY) < 0 ? errno : 0;
  if (command == "reopen") return reopen(first.c_str(), argc > 3 ? std::atoi(argv[3]) : O_RDWR);
  if (command == "dial") return dial(first);
  if (command == "fill") fill();
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
