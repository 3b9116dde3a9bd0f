#include "guest/loop.h"

#include "src/base/os/check.h"

#include <sys/signalfd.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace cleanroom::guest {

base::Result<std::unique_ptr<Loop>> Loop::create() {
  base::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return base::fail(base::errno_error("make", "epoll"));
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  base::Fd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return base::fail(base::errno_error("make", "signalfd"));
  return std::unique_ptr<Loop>(new Loop(std::move(epoll), std::move(signals)));
}

Loop::Loop(base::Fd epoll, base::Fd signals) : epoll_(std::move(epoll)), signals_(std::move(signals)) {
  watch(signals_.get(), EPOLLIN, [this](std::uint32_t) { reap(); });
}

void Loop::watch(int fd, std::uint32_t events, Handler handler) {
  auto& entry = watches_[fd];
  CR_CHECK(!entry, "descriptor {} is watched already", fd);
  entry = std::make_shared<Watch>();
  entry->generation = ++generations_;
  entry->handler = std::move(handler);
  change(fd, events);
}

void Loop::change(int fd, std::uint32_t events) {
  const auto found = watches_.find(fd);
  if (found == watches_.end() || found->second->events == events) return;
  Watch& watch = *found->second;
  epoll_event event{};
  event.events = events;
  // The generation tells an event of a descriptor that was closed in this turn from one of its successor.
  event.data.u64 = static_cast<std::uint64_t>(watch.generation) << 32 | static_cast<std::uint32_t>(fd);
  const int operation = events == 0 ? EPOLL_CTL_DEL : watch.events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  CR_CHECK(::epoll_ctl(epoll_.get(), operation, fd, &event) == 0, "epoll_ctl on {}: errno {}", fd, errno);
  watch.events = events;
}

void Loop::forget(int fd) {
  change(fd, 0);
  watches_.erase(fd);
}

Loop::TimerId Loop::after(std::chrono::milliseconds delay, std::function<void()> action) {
  const TimerId id = ++last_timer_;
  const auto deadline = base::deadline_in(delay);
  timers_.emplace(std::pair(deadline, id), std::move(action));
  timer_deadlines_.emplace(id, deadline);
  return id;
}

void Loop::cancel(TimerId timer) {
  const auto found = timer_deadlines_.find(timer);
  if (found == timer_deadlines_.end()) return;
  timers_.erase(std::pair(found->second, timer));
  timer_deadlines_.erase(found);
}

void Loop::watch_child(pid_t child, ChildHandler handler) {
  children_[child] = std::move(handler);
}

void Loop::reap() {
  std::array<signalfd_siginfo, 16> ignored;
  while (::read(signals_.get(), ignored.data(), sizeof ignored) > 0) {
  }
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    const auto found = children_.find(pid);
    if (found == children_.end()) continue;
    const ChildHandler handler = std::move(found->second);
    children_.erase(found);
    handler(status);
  }
}

int Loop::run_timers() {
  while (!timers_.empty()) {
    const auto first = timers_.begin();
    const auto left = base::time_left(first->first.first);
    if (left.count() > 0) return static_cast<int>(std::min<std::int64_t>(left.count() + 1, 60'000));
    const auto action = std::move(first->second);
    timer_deadlines_.erase(first->first.second);
    timers_.erase(first);
    action();
  }
  return -1;
}

void Loop::turn() {
  int wait_ms = run_timers();
  for (const auto& action : turn_ends_)
    action();
  if (stopped_) return;
  std::array<epoll_event, 64> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms);
  for (int i = 0; i < count && !stopped_; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    const auto found = watches_.find(static_cast<int>(event.data.u64 & 0xffffffffU));
    if (found == watches_.end() || found->second->generation != event.data.u64 >> 32) continue;
    const auto held = found->second;  // the handler may forget itself
    held->handler(event.events);
  }
}

void Loop::run() {
  while (!stopped_)
    turn();
}

}  // namespace cleanroom::guest
