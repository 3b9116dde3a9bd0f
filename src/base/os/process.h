#pragma once
// Process: a child whose owner's end is its end. No shell, no inherited environment, no inherited descriptors but those
// listed. The destructor sends SIGKILL to the child's process group, and reaps it.
#include "src/base/os/clock.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::base {

struct ExitStatus {
  int code = 0;    // exit status when signal is 0
  int signal = 0;  // terminating signal, or 0
  bool success() const { return code == 0 && signal == 0; }
};
std::string to_string(ExitStatus status);  // "exit status 3", "signal 9 (Killed)"

struct InheritedFd {
  int child_number = -1;   // the number it has in the child
  const Fd* fd = nullptr;  // borrowed until spawn() returns
};

// What a child does to itself before it becomes its program: a jail. Prepared before the fork; enter() runs in the
// child, where only async-signal-safe calls are allowed and nothing may be allocated.
class ChildSetup {
 public:
  // The program is executed from this descriptor, which enter() opens: a name may mean nothing any more by then.
  // Below it and above 400 numbers are free for what a setup needs until exec.
  static constexpr int kProgramFd = 900;
  virtual ~ChildSetup() = default;
  virtual unsigned long namespaces() const = 0;  // CLONE_NEW*: the child is born in them
  // Null: go on. Else what could not be done, static text, with the cause in errno. `program` is null in a rehearsal.
  virtual const char* enter(const char* program) const noexcept = 0;
};

struct SpawnOptions {
  std::vector<std::string> argv;            // argv[0] is a path, or a name looked up in this process's PATH
  std::vector<std::string> environment;     // "K=V"; nothing else is passed
  std::filesystem::path working_directory;  // empty = inherit
  std::vector<InheritedFd> fds;             // 0, 1 and 2 not listed are /dev/null
  bool new_process_group = true;
  bool die_with_parent = true;  // PR_SET_PDEATHSIG(SIGKILL)
  // Borrowed until spawn() returns. Its last act may be a system call filter: after it comes execveat() and, on
  // failure, write() and exit_group().
  const ChildSetup* setup = nullptr;
};

class Process {
 public:
  // not_found / failed_precondition name the program when it cannot be executed.
  static Result<Process> spawn(const SpawnOptions& options);
  // All that spawn() does with this setup but for exec: whether it works here. Blocks for some milliseconds.
  static Result<void> rehearse(const ChildSetup& setup);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  const Fd& pidfd() const { return pidfd_; }  // readable when the child has ended (poll it)
  // Sends to the process group when the child has its own. Nothing happens after it was reaped.
  void signal(int number);
  // Reaps if it has ended.
  std::optional<ExitStatus> try_wait();
  // timeout when it still runs at the deadline.
  Result<ExitStatus> wait(Deadline deadline);

 private:
  Process(pid_t pid, Fd pidfd, bool own_group) : pid_(pid), pidfd_(std::move(pidfd)), own_group_(own_group) {}
  friend struct ProcessStart;
  void kill_and_reap() noexcept;
  pid_t pid_ = -1;  // -1 once reaped
  Fd pidfd_;
  bool own_group_ = false;
  std::optional<ExitStatus> status_;
};

// Runs to the end and collects output (both streams capped). `timeout` kills it.
struct CompletedProcess {
  ExitStatus status;
  std::string output;
  std::string errors;
};
Result<CompletedProcess> run_process(SpawnOptions options, Deadline deadline, std::size_t max_output_bytes = 1 << 20);

// Full path of a program in $PATH; not_found when there is none.
Result<std::filesystem::path> find_program(std::string_view name);
// The same in another list of directories, for a caller that does not trust $PATH; `name` has no slash.
Result<std::filesystem::path> find_program(std::string_view name, std::string_view path);

}  // namespace cleanroom::base
