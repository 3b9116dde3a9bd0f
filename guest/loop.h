#pragma once
// Loop: the agent's one thread. epoll, timers and the children's ends; all handlers run to completion and never block.
#include "src/base/os/clock.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <sys/epoll.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

namespace cleanroom::guest {

class Loop {
 public:
  using Handler = std::function<void(std::uint32_t events)>;
  using ChildHandler = std::function<void(int wait_status)>;
  using TimerId = std::uint64_t;

  // Blocks SIGCHLD in this process: children's ends come through a descriptor.
  static base::Result<std::unique_ptr<Loop>> create();

  // The caller keeps the descriptor open until forget(). Events 0 = keep the handler, wait for nothing (not even HUP).
  void watch(int fd, std::uint32_t events, Handler handler);
  void change(int fd, std::uint32_t events);
  void forget(int fd);

  TimerId after(std::chrono::milliseconds delay, std::function<void()> action);
  void cancel(TimerId timer);

  // `handler` runs once, when that child of ours has ended and was reaped.
  void watch_child(pid_t child, ChildHandler handler);
  // It is still reaped.
  void forget_child(pid_t child) { children_.erase(child); }

  // Runs after the handlers of each turn, before the loop sleeps: where output that piled up is flushed.
  void after_each_turn(std::function<void()> action) { turn_ends_.push_back(std::move(action)); }

  void run();
  void stop() { stopped_ = true; }

 private:
  struct Watch {
    std::uint32_t generation = 0;
    std::uint32_t events = 0;
    Handler handler;
  };
  Loop(base::Fd epoll, base::Fd signals);
  void turn();
  int run_timers();  // milliseconds until the next one, -1 = none
  void reap();

  base::Fd epoll_;
  base::Fd signals_;
  std::uint32_t generations_ = 0;
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::map<std::pair<base::Deadline, TimerId>, std::function<void()>> timers_;
  std::unordered_map<TimerId, base::Deadline> timer_deadlines_;
  TimerId last_timer_ = 0;
  std::unordered_map<pid_t, ChildHandler> children_;
  std::vector<std::function<void()>> turn_ends_;
  bool stopped_ = false;
};

}  // namespace cleanroom::guest
