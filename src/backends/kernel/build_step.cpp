#include "src/backends/kernel/build_step.h"

#include "src/base/os/io.h"
#include "src/base/os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

namespace cleanroom::backends {

using base::Code;
using base::Result;

namespace {

constexpr off_t kTail = 4096;                       // of the log, shown when a step fails
constexpr std::chrono::seconds kStepStopLimit{10};  // for a step that was asked to end
constexpr std::chrono::seconds kVersionLimit{30};   // on a busy machine

// What the step wrote last: from `begin` on, at most kTail bytes, whole lines.
std::string tail_of(const base::Fd& log, off_t begin) {
  struct stat info {};
  if (::fstat(log.get(), &info) != 0) return {};
  const off_t from = std::max(begin, info.st_size - kTail);
  std::string text(static_cast<std::size_t>(std::max<off_t>(info.st_size - from, 0)), '\0');
  if (!base::pread_exact(log, std::as_writable_bytes(std::span(text)), static_cast<std::uint64_t>(from))) return {};
  if (from > begin) text.erase(0, text.find('\n') + 1);
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

// Waits for the end of the process; asks it to stop when it is interrupted or out of time.
Result<base::ExitStatus> wait_for_step(base::Process& process, const BuildContext& context) {
  std::array<pollfd, 2> entries{
      pollfd{process.pidfd().get(), POLLIN, 0},
      pollfd{context.interrupt != nullptr ? context.interrupt->get() : -1, POLLIN, 0},
  };
  for (;;) {
    if (const auto status = process.try_wait()) return *status;
    const auto left = std::min<long>(base::time_left(context.deadline).count(), 1 << 30);
    ::poll(entries.data(), entries.size(), static_cast<int>(left));
    const bool interrupted = entries[1].revents != 0;
    if (!interrupted && base::time_left(context.deadline).count() > 0) continue;
    process.signal(SIGTERM);
    if (!process.wait(base::deadline_in(kStepStopLimit))) process.signal(SIGKILL);
    if (interrupted) return base::fail(Code::cancelled, "cancelled");
    return base::fail(Code::timeout, "it took too long");
  }
}

}  // namespace

Result<void> run_step(const BuildStep& step, const BuildContext& context) {
  CR_ASSIGN(const auto program, base::find_program(step.argv.front(), context.path));
  CR_ASSIGN(const auto log, base::open_file(context.log, O_RDWR | O_CREAT | O_APPEND));
  struct stat before {};
  if (::fstat(log.get(), &before) != 0) return base::fail(base::errno_error("read", context.log.native()));
  base::SpawnOptions options{.argv = step.argv, .environment = step.environment};
  options.argv.front() = program.native();
  if (context.niceness > 0) {
    CR_ASSIGN(const auto nice, base::find_program("nice", context.path));
    const std::string words[] = {nice.native(), "-n", std::to_string(context.niceness)};
    options.argv.insert(options.argv.begin(), std::begin(words), std::end(words));
  }
  options.working_directory = step.working_directory;
  options.fds = {{1, &log}, {2, &log}};
  CR_ASSIGN(auto process, base::Process::spawn(options));
  auto status = wait_for_step(process, context);
  if (!status) return base::fail(std::move(status.error()).with_context(fmt::format("cannot {}", step.what)));
  if (status->success()) return {};
  const std::string tail = tail_of(log, before.st_size);
  return base::fail(
      base::Error(Code::failed_precondition, "kernel_build_failed",
                  fmt::format("cannot {}: {}, {}{}", step.what, program.filename().native(), base::to_string(*status),
                              tail.empty() ? std::string(" and no output") : "; its last output:\n" + tail)));
}

Result<std::string> program_version(const std::string& program, const BuildContext& context) {
  CR_ASSIGN(const auto file, base::find_program(program, context.path));
  CR_ASSIGN(const auto done, base::run_process({.argv = {file.native(), "--version"},
                                                .environment = {"LC_ALL=C", "PATH=" + context.path}},
                                               base::deadline_in(kVersionLimit)));
  if (!done.status.success() || done.output.empty())
    return base::fail(Code::failed_precondition, fmt::format("cannot ask '{}' for its version", file.native()));
  return done.output.substr(0, done.output.find('\n'));
}

}  // namespace cleanroom::backends
