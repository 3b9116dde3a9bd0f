#include "guest/exec_init.h"

#include "guest/exec_command.h"
#include "src/base/os/fd_passing.h"
#include "src/base/os/io.h"
#include "src/channel/messages.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <vector>

namespace cleanroom::guest {
namespace {

void send_report(const base::Fd& control, const std::vector<std::byte>& report) {
  // The agent reads one datagram; when it is gone, so are we soon.
  if (::send(control.get(), report.data(), report.size(), MSG_NOSIGNAL) < 0) return;
}

[[noreturn]] void fail_start(const base::Fd& control, const base::Error& error) {
  send_report(control, channel::encode(channel::ExecFailed{.os_errno = static_cast<std::uint32_t>(error.os_errno),
                                                           .message = error.describe()}));
  ::_exit(1);
}

base::Result<void> mount_over(const char* type, const std::string& target, unsigned long flags) {
  if (::mount(type, target.c_str(), type, flags, nullptr) != 0) return base::fail(base::errno_error("mount", target));
  return {};
}

// /proc and /sys/fs/cgroup show this namespace, so each command has its own; everything else is the agent's.
base::Result<void> enter_root() {
  if (::unshare(CLONE_NEWCGROUP) != 0) return base::fail(base::errno_error("unshare", "cgroup namespace"));
  // What the agent mounts at START comes here too; nothing goes the other way.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return base::fail(base::errno_error("take mounts from", "the agent"));
  }
  const std::string root = kJobRoot;
  CR_TRY(mount_over("proc", root + "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  CR_TRY(mount_over("cgroup2", root + "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  // Moved over "/", the job's root hides the initramfs: ".." from it leads back to itself.
  if (::chdir(kJobRoot) != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0 ||
      ::chdir("/") != 0) {
    return base::fail(base::errno_error("enter", "the job's root"));
  }
  return {};
}

struct InitChannels {
  base::Fd control;
  base::Fd request;
  base::Fd go;
};

// 0-2 lead nowhere, and nothing else of the agent's is open.
InitChannels take_over(const InitFds& fds) {
  constexpr int kFirst = 3;
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < kFirst; ++fd)
    ::dup2(null, fd);
  // Copies above all that is open, and from there to their places: none may be overwritten before it was moved.
  std::array<int, 3> numbers{fds.control, fds.request, fds.go};
  for (int& number : numbers)
    number = ::fcntl(number, F_DUPFD_CLOEXEC, kFirst + static_cast<int>(numbers.size()));
  for (std::size_t i = 0; i < numbers.size(); ++i)
    ::dup3(numbers[i], kFirst + static_cast<int>(i), O_CLOEXEC);
  ::close_range(kFirst + numbers.size(), ~0U, 0);
  return {.control = base::Fd(kFirst), .request = base::Fd(kFirst + 1), .go = base::Fd(kFirst + 2)};
}

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
}

channel::Exited exit_record(int status, const rusage& usage) {
  channel::Exited exited;
  if (WIFSIGNALED(status)) {
    exited.signal = static_cast<std::uint8_t>(WTERMSIG(status));
  } else {
    exited.status = static_cast<std::uint8_t>(WEXITSTATUS(status));
  }
  exited.user_us = microseconds(usage.ru_utime);
  exited.system_us = microseconds(usage.ru_stime);
  exited.max_rss_kib = static_cast<std::uint64_t>(usage.ru_maxrss);
  return exited;
}

// Reaps all that ended. True when the command was among them; it is reported then.
bool reap(const base::Fd& control, pid_t command) {
  int status = 0;
  rusage usage{};
  for (pid_t pid = 0; (pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0;) {
    if (pid != command) continue;
    send_report(control, channel::encode(exit_record(status, usage)));
    return true;
  }
  return false;
}

void pass_signal(const base::Fd& control, pid_t command) {
  std::uint8_t number = 0;
  const ssize_t n = ::recv(control.get(), &number, 1, MSG_DONTWAIT);
  if (n == 0) ::_exit(1);  // the agent is gone
  if (n == 1) ::kill(-command, number);
}

[[noreturn]] void supervise(const base::Fd& control, pid_t command, const base::Fd& signals) {
  for (;;) {
    std::array<pollfd, 2> waits{{{signals.get(), POLLIN, 0}, {control.get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[0].revents != 0) {
      signalfd_siginfo ignored{};
      if (::read(signals.get(), &ignored, sizeof ignored) > 0 && reap(control, command)) ::_exit(0);
    }
    if (waits[1].revents != 0) pass_signal(control, command);
  }
}

// The request and the streams of the command that this process is to be.
base::Result<channel::ExecRequest> receive_request(const InitChannels& channels) {
  CR_ASSIGN(const auto streams, base::receive_fds<3>(channels.go));
  for (std::size_t i = 0; i < streams.size(); ++i)
    ::dup2(streams[i].get(), static_cast<int>(i));
  struct stat status {};
  if (::fstat(channels.request.get(), &status) != 0) return base::fail(base::errno_error("look at", "the request"));
  std::vector<std::byte> record(static_cast<std::size_t>(status.st_size));
  CR_TRY(base::pread_exact(channels.request, record, 0));
  return channel::decode_exec_request(std::span(record).subspan(channel::kExecRequestHead));
}

base::Result<void> wait_for_disks(const base::Fd& go) {
  std::byte mark{};
  ssize_t n = 0;
  while ((n = ::recv(go.get(), &mark, 1, 0)) < 0 && errno == EINTR) {
  }
  if (n != 1) return base::fail(base::Code::unavailable, "cannot wait for the job's disks: the agent is gone");
  return {};
}

[[noreturn]] void wait_and_become_command(const InitChannels& channels, const base::Fd& report) {
  const auto request = receive_request(channels);
  const auto error = request ? become_command(*request, [&] { return wait_for_disks(channels.go); }) : request.error();
  const auto text = channel::encode(
      channel::ExecFailed{.os_errno = static_cast<std::uint32_t>(error.os_errno), .message = error.describe()});
  if (!base::write_all(report, text)) ::_exit(2);
  ::_exit(1);
}

}  // namespace

void run_exec_init(const InitFds& fds) {
  ::prctl(PR_SET_NAME, "cleanroom-init");
  InitChannels channels = take_over(fds);
  const base::Fd& control = channels.control;
  if (auto entered = enter_root(); !entered) fail_start(control, entered.error());

  sigset_t set;
  ::sigfillset(&set);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  const base::Fd signals(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));

  auto started = base::make_pipe();  // closes with exec; what comes through before is why there was none
  if (!started) fail_start(control, started.error());
  const pid_t command = ::fork();
  if (command < 0) fail_start(control, base::errno_error("start", "the command"));
  if (command == 0) {
    started->read.reset();
    wait_and_become_command(channels, started->write);
  }
  if (const base::Fd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)); score) {
    if (!base::write_all(score, "-1000")) ::_exit(1);  // when memory runs out the command goes, not its reporter
  }
  const std::uint8_t mark = 0;
  if (::send(channels.go.get(), &mark, 1, MSG_NOSIGNAL) < 0) ::_exit(1);
  // Our ends would keep the agent from seeing that the command is gone.
  started->write.reset();
  channels.request.reset();
  channels.go.reset();
  const auto failure = base::read_all(started->read, "start report", 64 * 1024);
  if (failure && !failure->empty()) {
    send_report(control, {base::as_bytes(*failure).begin(), base::as_bytes(*failure).end()});
    ::_exit(1);
  }
  started->read.reset();
  supervise(control, command, signals);
}

}  // namespace cleanroom::guest
