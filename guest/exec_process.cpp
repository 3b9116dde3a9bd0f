#include "guest/exec_process.h"

#include "guest/exec_init.h"
#include "src/base/os/fd_passing.h"
#include "src/base/os/io.h"

#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

namespace cleanroom::guest {
namespace {

base::Result<base::SocketPair> make_datagram_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return base::fail(base::errno_error("make", "a socket pair"));
  return base::SocketPair{base::Fd(ends[0]), base::Fd(ends[1])};
}

}  // namespace

base::Result<ExecProcess> ExecProcess::prepare() {
  static std::uint64_t count = 0;
  CR_ASSIGN(auto cgroup, Cgroup::create(fmt::format("{}", ++count)));
  ExecProcess process(std::move(cgroup));
  CR_ASSIGN(auto control, make_datagram_pair());
  CR_ASSIGN(auto go, make_datagram_pair());
  process.request_ = base::Fd(::memfd_create("exec-request", MFD_CLOEXEC));
  if (!process.request_) return base::fail(base::errno_error("make", "room for a request"));

  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_PIDFD | CLONE_INTO_CGROUP;
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(process.cgroup_.directory().get());
  const auto child = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
  if (child < 0) return base::fail(base::errno_error("start", "the command's init"));
  if (child == 0) run_exec_init({.control = control.b.get(), .request = process.request_.get(), .go = go.b.get()});
  process.pid_ = child;
  process.pidfd_ = base::Fd(pidfd);
  process.control_ = std::move(control.a);
  process.go_ = std::move(go.a);
  return process;
}

base::Result<void> ExecProcess::wait_prepared(base::Deadline deadline) const {
  for (;;) {
    pollfd wait{go_.get(), POLLIN, 0};
    const int left = static_cast<int>(std::min<std::int64_t>(base::time_left(deadline).count(), 60'000));
    if (::poll(&wait, 1, left) < 0 && errno == EINTR) continue;
    std::byte mark{};
    if ((wait.revents & POLLIN) != 0 && ::recv(go_.get(), &mark, 1, MSG_DONTWAIT) == 1) return {};
    if (wait.revents != 0) return base::fail(base::Code::unavailable, "cannot prepare a command: its init ended");
    if (left == 0) return base::fail(base::Code::timeout, "cannot prepare a command in time");
  }
}

ExecProcess::~ExecProcess() {
  kill();
}

void ExecProcess::kill() {
  if (pidfd_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
}

base::Result<void> ExecProcess::run(const channel::ExecRequest& request, const ExecStreams& streams) {
  CR_TRY(base::pwrite_all(request_, channel::encode(request), 0));
  const std::array<int, 3> fds{streams.input.get(), streams.output.get(), streams.errors.get()};
  constexpr std::array<std::byte, 1> kGo{};
  CR_TRY(base::send_with_fds(go_.get(), kGo, fds));
  request_.reset();
  // go_ stays: closed with the init's mark unread, it would take the message back (ECONNRESET for its receiver).
  return {};
}

base::Result<void> ExecProcess::announce_disks() {
  constexpr std::byte kMounted{};
  if (::send(go_.get(), &kMounted, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
    return base::fail(base::errno_error("start", "the command: its init is gone"));
  return {};
}

}  // namespace cleanroom::guest
