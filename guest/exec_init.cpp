#include "guest/exec_init.h"

#include "guest/exec_command.h"
#include "src/base/os/io.h"

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

// /proc and /sys/fs/cgroup show this namespace, so each command has its own; everything else was mounted at START.
base::Result<void> enter_root() {
  if (::unshare(CLONE_NEWCGROUP) != 0) return base::fail(base::errno_error("unshare", "cgroup namespace"));
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return base::fail(base::errno_error("make private", "/"));
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

// Closes all but 0-2 and `keep`, which becomes 3.
base::Fd close_others(const base::Fd& keep) {
  if (keep.get() != 3) ::dup3(keep.get(), 3, O_CLOEXEC);
  ::close_range(4, ~0U, 0);
  return base::Fd(3);
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

}  // namespace

void run_exec_init(const channel::ExecRequest& request, const ExecChannels& channels) {
  ::prctl(PR_SET_NAME, "cleanroom-init");
  ::dup2(channels.input.get(), 0);
  ::dup2(channels.output.get(), 1);
  ::dup2(channels.errors.get(), 2);
  const base::Fd control = close_others(channels.control);
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
    const auto error = become_command(request);
    const auto text = channel::encode(
        channel::ExecFailed{.os_errno = static_cast<std::uint32_t>(error.os_errno), .message = error.describe()});
    if (!base::write_all(started->write, text)) ::_exit(2);
    ::_exit(1);
  }
  started->write.reset();
  // Our ends of its streams would keep them open after it closed them.
  const base::Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; fd < 3; ++fd)
    ::dup2(null.get(), fd);
  if (const base::Fd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)); score) {
    if (!base::write_all(score, "-1000")) ::_exit(1);  // when memory runs out the command goes, not its reporter
  }
  const auto failure = base::read_all(started->read, "start report", 64 * 1024);
  if (failure && !failure->empty()) {
    send_report(control, {base::as_bytes(*failure).begin(), base::as_bytes(*failure).end()});
    ::_exit(1);
  }
  started->read.reset();
  supervise(control, command, signals);
}

}  // namespace cleanroom::guest
