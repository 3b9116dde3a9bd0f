#include "src/egress/audit_sink.h"

#include "src/base/os/fd.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace cleanroom::egress {

using base::Code;
using base::Fd;
using base::Result;
using Kind = AuditSinkOptions::Kind;

namespace {

// How long the thread waits on a socket without looking whether it should end.
constexpr std::chrono::milliseconds kPollSlice{100};
// For the thread to notice that nobody wants it any more; one that a write holds for longer is left behind.
constexpr std::chrono::seconds kThreadEndLimit{1};

Result<Fd> open_file_sink(const std::filesystem::path& path) {
  // A FIFO of that name must not hold us.
  CR_ASSIGN(auto fd, base::open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return base::fail(Code::failed_precondition,
                      fmt::format("cannot append to '{}': not a regular file", path.native()));
  }
  return fd;
}

Result<Fd> open_socket_sink(const std::filesystem::path& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof name.sun_path) {
    return base::fail(base::errno_error("connect to", path.native(), ENAMETOOLONG));
  }
  std::memcpy(name.sun_path, path.c_str(), path.native().size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // A Unix socket connects at once or not at all: EAGAIN says that the listener's queue is full.
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    return base::fail(base::errno_error("connect to", path.native()));
  }
  return socket;
}

}  // namespace

struct AuditSink::Shared {
  Shared(AuditSinkOptions o, std::string id) : options(std::move(o)), run_id(std::move(id)) {}

  const AuditSinkOptions options;
  const std::string run_id;

  mutable std::mutex mutex;
  std::condition_variable changed;
  struct Line {
    std::string text;
    bool is_event = true;  // false: a gap
  };
  std::deque<Line> backlog;
  std::size_t backlog_bytes = 0;
  std::uint64_t unreported_loss = 0;
  Counters counters;
  bool closing = false;
  bool abandoned = false;  // close() gave up: nothing more is written
  bool ended = false;

  // The thread's own.
  Fd fd;
  bool torn = false;  // the file ends in the middle of a line of ours

  Result<Fd> open() const {
    return options.kind == Kind::file ? open_file_sink(options.path) : open_socket_sink(options.path);
  }
  void push(Line line) {
    backlog_bytes += line.text.size();
    backlog.push_back(std::move(line));
  }
  bool given_up() const {
    const std::lock_guard lock(mutex);
    return abandoned;
  }
  void run();
  bool deliver(const std::string& text);
  bool append_to_file(const std::string& text);
  bool send_to_socket(const std::string& text);
  void wait_to_retry(std::unique_lock<std::mutex>& lock);
};

// The front line stays in the backlog until it is delivered, so that whoever counts finds it in one place.
void AuditSink::Shared::run() {
  std::unique_lock lock(mutex);
  while (!abandoned) {
    if (backlog.empty()) {
      if (closing) break;
      changed.wait(lock, [this] { return closing || abandoned || !backlog.empty(); });
      continue;
    }
    const Line& line = backlog.front();  // nobody else pops, and a deque's push_back moves no element
    lock.unlock();
    const bool delivered = deliver(line.text);
    lock.lock();
    if (abandoned) break;  // what was delivered meanwhile is counted as lost: never the other way round
    if (delivered) {
      backlog_bytes -= line.text.size();
      counters.written += line.is_event ? 1 : 0;
      backlog.pop_front();
      if (backlog.empty()) changed.notify_all();
    } else {
      wait_to_retry(lock);
    }
  }
  ended = true;
  changed.notify_all();
}

void AuditSink::Shared::wait_to_retry(std::unique_lock<std::mutex>& lock) {
  changed.wait_for(lock, options.retry, [this] { return abandoned; });
}

bool AuditSink::Shared::deliver(const std::string& text) {
  if (!fd) {
    auto opened = open();
    if (!opened) return false;
    fd = std::move(*opened);
  }
  return options.kind == Kind::file ? append_to_file(text) : send_to_socket(text);
}

// One write(2) a line. After a full disk has cut one short, the next attempt begins on a line of its own.
bool AuditSink::Shared::append_to_file(const std::string& text) {
  const std::string whole = torn ? "\n" + text : text;
  ssize_t n = 0;
  do {
    n = ::write(fd.get(), whole.data(), whole.size());
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(whole.size())) {
    torn = false;
    return true;
  }
  torn = torn || n > 0;
  return false;
}

// A receiver that goes away in the middle of a line gets the whole line again when it is back.
bool AuditSink::Shared::send_to_socket(const std::string& text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t n = ::send(fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      rest.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (given_up()) return false;
      pollfd waiting{.fd = fd.get(), .events = POLLOUT, .revents = 0};
      (void)::poll(&waiting, 1, static_cast<int>(kPollSlice.count()));
      continue;
    }
    fd.reset();
    return false;
  }
  return true;
}

AuditSink::AuditSink(AuditSinkOptions options, std::string run_id)
    : shared_(std::make_shared<Shared>(std::move(options), std::move(run_id))) {
  if (auto fd = shared_->open())
    shared_->fd = std::move(*fd);
  else
    opened_ = base::fail(std::move(fd).error());
  std::thread([shared = shared_] { shared->run(); }).detach();
}

AuditSink::~AuditSink() {
  (void)close(base::SteadyClock::now());
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait_for(lock, kThreadEndLimit, [this] { return shared_->ended; });
}

std::string AuditSink::describe() const {
  return fmt::format("{} '{}'", shared_->options.kind == Kind::file ? "file" : "socket",
                     shared_->options.path.native());
}

void AuditSink::write(const std::string& line) {
  auto& s = *shared_;
  const std::lock_guard lock(s.mutex);
  ++s.counters.events;
  if (s.closing || s.backlog_bytes + line.size() > s.options.max_backlog) {
    ++s.unreported_loss;
    return;
  }
  if (s.unreported_loss > 0) {
    s.push({audit_gap_line(s.run_id, s.unreported_loss), false});
    s.counters.lost += std::exchange(s.unreported_loss, 0);
  }
  s.push({line});
  s.changed.notify_all();
}

AuditSink::Counters AuditSink::close(base::Deadline deadline) {
  auto& s = *shared_;
  std::unique_lock lock(s.mutex);
  if (!s.closing && s.unreported_loss > 0) {
    s.push({audit_gap_line(s.run_id, s.unreported_loss), false});
    s.counters.lost += std::exchange(s.unreported_loss, 0);
  }
  s.closing = true;
  s.changed.notify_all();
  s.changed.wait_until(lock, deadline, [&s] { return s.ended; });
  if (!s.ended && !s.abandoned) {
    s.abandoned = true;
    for (const auto& line : s.backlog)
      s.counters.lost += line.is_event ? 1 : 0;
    s.changed.notify_all();
  }
  auto counters = s.counters;
  counters.lost += s.unreported_loss;
  return counters;
}

AuditSink::Counters AuditSink::counters() const {
  const std::lock_guard lock(shared_->mutex);
  auto counters = shared_->counters;
  counters.lost += shared_->unreported_loss;
  return counters;
}

std::string audit_gap_line(const std::string& run_id, std::uint64_t lost) {
  nlohmann::ordered_json gap;
  gap["ts"] = base::format_utc_now();
  gap["run_id"] = run_id;
  gap["event"] = "gap";
  gap["lost"] = lost;
  return gap.dump() + "\n";
}

}  // namespace cleanroom::egress
