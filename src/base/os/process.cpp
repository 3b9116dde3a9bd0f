#include "src/base/os/process.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace cleanroom::base {
namespace {

std::vector<char*> pointers_of(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const auto& text : strings)
    pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Everything the child does between fork and exec; only async-signal-safe calls.
struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* envp;
  const char* working_directory;  // null = inherit
  std::pair<int, int>* fds;       // (parent's number, child's number); the first is rewritten in the child
  std::size_t fd_count;
  int error_pipe;
  int error_pipe_reader;  // the parent's end, which the child holds too at first
  bool new_process_group;
  bool die_with_parent;
  const ChildSetup* setup;
};

// What the parent reads when the child did not reach its program.
struct ChildFailure {
  int error_number = 0;
  const char* step = nullptr;  // static text: at the same address in the parent; null: exec, or what leads to it
};

[[noreturn]] void report_and_exit(int error_pipe, const char* step = nullptr) {
  ChildFailure failure;
  failure.error_number = errno;
  failure.step = step;
  [[maybe_unused]] const ssize_t ignored = ::write(error_pipe, &failure, sizeof failure);
  ::_exit(127);
}

// In a pid namespace of its own a child has no parent to ask for; the pipe tells whether anyone still listens.
bool parent_is_alive(const ChildPlan& plan) {
  ::close(plan.error_pipe_reader);
  pollfd entry{plan.error_pipe, 0, 0};
  return ::poll(&entry, 1, 0) == 0;
}

void reset_signals() {
  for (int number = 1; number < NSIG; ++number)
    ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Moves the wanted descriptors out of the way first, so that no source is overwritten by an earlier target.
void place_descriptors(const ChildPlan& plan) {
  constexpr int kScratchBase = 200;
  for (std::size_t i = 0; i < plan.fd_count; ++i) {
    plan.fds[i].first = ::fcntl(plan.fds[i].first, F_DUPFD, kScratchBase);
    if (plan.fds[i].first < 0) report_and_exit(plan.error_pipe);
  }
  // Whatever else is open, ours or inherited by us, ends at exec; dup2() below clears the flag on what is wanted.
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  const int null_fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int number = 0; number <= 2; ++number)
    ::dup2(null_fd, number);
  for (std::size_t i = 0; i < plan.fd_count; ++i) {
    if (::dup2(plan.fds[i].first, plan.fds[i].second) < 0) report_and_exit(plan.error_pipe);
  }
}

[[noreturn]] void run_child(const ChildPlan& plan) {
  reset_signals();
  if (plan.new_process_group) ::setpgid(0, 0);
  if (plan.die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!parent_is_alive(plan)) ::_exit(127);  // it ended before the prctl
  }
  if (plan.working_directory != nullptr && ::chdir(plan.working_directory) != 0) report_and_exit(plan.error_pipe);
  place_descriptors(plan);
  if (plan.setup == nullptr) {
    ::execve(plan.program, plan.argv, plan.envp);
  } else {
    if (const char* failed = plan.setup->enter(plan.program)) report_and_exit(plan.error_pipe, failed);
    if (plan.program == nullptr) ::_exit(0);
    ::syscall(SYS_execveat, ChildSetup::kProgramFd, "", plan.argv, plan.envp, AT_EMPTY_PATH);
  }
  report_and_exit(plan.error_pipe);
}

// clone(), not clone3(): containers' system call filters let it pass, and glibc has no fork() with namespaces.
pid_t fork_into(unsigned long namespaces) {
  if (namespaces == 0) return ::fork();
  return static_cast<pid_t>(::syscall(SYS_clone, namespaces | SIGCHLD, nullptr, nullptr, nullptr, 0));
}

Result<Fd> open_pidfd(pid_t pid) {
  const long raw = ::syscall(SYS_pidfd_open, pid, 0);
  if (raw < 0) return fail(errno_error("open pidfd of", std::to_string(pid)));
  return Fd(static_cast<int>(raw));
}

ExitStatus decode(int status) {
  if (WIFSIGNALED(status)) return {0, WTERMSIG(status)};
  return {WEXITSTATUS(status), 0};
}

}  // namespace

std::string to_string(ExitStatus status) {
  if (status.signal != 0) return fmt::format("signal {} ({})", status.signal, ::strsignal(status.signal));
  return fmt::format("exit status {}", status.code);
}

Result<std::filesystem::path> find_program(std::string_view name) {
  if (name.find('/') != std::string_view::npos) return std::filesystem::path(name);
  const char* variable = std::getenv("PATH");
  return find_program(name, variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin");
}

Result<std::filesystem::path> find_program(std::string_view name, std::string_view path) {
  // For a directory X_OK means that it may be searched.
  const auto is_program = [](const std::filesystem::path& file) {
    std::error_code error;
    return ::access(file.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(file, error);
  };
  while (!path.empty()) {
    const auto colon = path.find(':');
    const std::filesystem::path candidate = std::filesystem::path(path.substr(0, colon)) / name;
    if (candidate.is_absolute() && is_program(candidate)) return candidate;
    path = colon == std::string_view::npos ? std::string_view{} : path.substr(colon + 1);
  }
  return fail(Code::not_found, fmt::format("cannot find program '{}' in PATH", name));
}

// The part that spawn() and rehearse() share.
struct ProcessStart {
  static Result<Process> run(const SpawnOptions& options, const char* program);
};

Result<Process> ProcessStart::run(const SpawnOptions& options, const char* program) {
  const std::string_view name = program != nullptr ? program : "a process of its own";
  CR_ASSIGN(auto error_pipe, make_pipe());
  // Above every number place_descriptors() uses, so that it stays open until exec.
  Fd high_error_end(::fcntl(error_pipe.write.get(), F_DUPFD_CLOEXEC, 400));
  if (!high_error_end) return fail(errno_error("prepare", name));
  std::vector<std::pair<int, int>> fds;
  for (const auto& inherited : options.fds)
    fds.emplace_back(inherited.fd->get(), inherited.child_number);
  const auto argv = pointers_of(options.argv);
  const auto envp = pointers_of(options.environment);
  error_pipe.write.reset();
  const ChildPlan plan{program,
                       argv.data(),
                       envp.data(),
                       options.working_directory.empty() ? nullptr : options.working_directory.c_str(),
                       fds.data(),
                       fds.size(),
                       high_error_end.get(),
                       error_pipe.read.get(),
                       options.new_process_group,
                       options.die_with_parent,
                       options.setup};
  const pid_t pid = fork_into(options.setup != nullptr ? options.setup->namespaces() : 0);
  if (pid < 0) return fail(errno_error("start", name));
  if (pid == 0) run_child(plan);

  high_error_end.reset();
  auto pidfd = open_pidfd(pid);
  Process process(pid, pidfd ? std::move(*pidfd) : Fd(), options.new_process_group);
  if (!pidfd) return fail(std::move(pidfd).error());
  ChildFailure failure;
  CR_ASSIGN(const auto n, read_some(error_pipe.read, std::as_writable_bytes(std::span(&failure, 1))));
  if (n != sizeof failure) return process;
  return fail(errno_error(failure.step != nullptr ? failure.step : "execute", name, failure.error_number));
}

Result<Process> Process::spawn(const SpawnOptions& options) {
  CR_ASSIGN(const auto program, find_program(options.argv.at(0)));
  return ProcessStart::run(options, program.c_str());
}

Result<void> Process::rehearse(const ChildSetup& setup) {
  SpawnOptions options;
  options.setup = &setup;
  CR_TRY(ProcessStart::run(options, nullptr));
  return {};
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      own_group_(other.own_group_),
      status_(other.status_) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    kill_and_reap();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    own_group_ = other.own_group_;
    status_ = other.status_;
  }
  return *this;
}

Process::~Process() {
  kill_and_reap();
}

void Process::kill_and_reap() noexcept {
  if (pid_ < 0) return;
  signal(SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

void Process::signal(int number) {
  if (pid_ < 0) return;
  // Both: the child may not have reached its setpgid() yet.
  if (own_group_) ::kill(-pid_, number);
  ::kill(pid_, number);
}

std::optional<ExitStatus> Process::try_wait() {
  if (pid_ < 0) return status_;
  int status = 0;
  const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
  if (reaped != pid_) return std::nullopt;
  pid_ = -1;
  status_ = decode(status);
  return status_;
}

Result<ExitStatus> Process::wait(Deadline deadline) {
  for (;;) {
    if (auto status = try_wait()) return *status;
    pollfd entry{pidfd_.get(), POLLIN, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min<long>(time_left(deadline).count(), 1 << 30)));
    if (ready == 0) return fail(Code::timeout, fmt::format("process {} still runs at its deadline", pid_));
  }
}

namespace {

// Appends what is readable; true while the stream is open.
Result<bool> collect(const Fd& from, std::string& into, std::size_t max_bytes) {
  std::array<std::byte, 16384> buffer;
  CR_ASSIGN(const auto n, read_some(from, buffer));
  into.append(as_text(std::span(buffer).first(std::min(n, max_bytes - std::min(max_bytes, into.size())))));
  return n > 0;
}

}  // namespace

Result<CompletedProcess> run_process(SpawnOptions options, Deadline deadline, std::size_t max_output_bytes) {
  CR_ASSIGN(auto out, make_pipe());
  CR_ASSIGN(auto err, make_pipe());
  options.fds.push_back({1, &out.write});
  options.fds.push_back({2, &err.write});
  CR_ASSIGN(auto process, Process::spawn(options));
  out.write.reset();
  err.write.reset();
  CompletedProcess completed;
  std::array<pollfd, 2> entries{pollfd{out.read.get(), POLLIN, 0}, pollfd{err.read.get(), POLLIN, 0}};
  while (entries[0].fd >= 0 || entries[1].fd >= 0) {
    const int ready = ::poll(entries.data(), entries.size(), static_cast<int>(time_left(deadline).count()));
    if (ready == 0) return fail(Code::timeout, fmt::format("'{}' still runs at its deadline", options.argv[0]));
    if (entries[0].revents != 0) {
      CR_ASSIGN(const bool open, collect(out.read, completed.output, max_output_bytes));
      if (!open) entries[0].fd = -1;
    }
    if (entries[1].revents != 0) {
      CR_ASSIGN(const bool open, collect(err.read, completed.errors, max_output_bytes));
      if (!open) entries[1].fd = -1;
    }
  }
  CR_ASSIGN(completed.status, process.wait(deadline));
  return completed;
}

}  // namespace cleanroom::base
