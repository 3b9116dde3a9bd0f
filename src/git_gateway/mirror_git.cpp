#include "src/git_gateway/mirror_git.h"

#include "src/base/async/event.h"
#include "src/git_gateway/limits.h"

#include <boost/asio/write.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>

namespace cleanroom::git_gateway {

using base::Awaitable;
using base::Code;
using base::Result;
namespace asio = base::asio;

namespace {

// Not this process's PATH: a pipeline's environment may have set it.
constexpr std::string_view kProgramPath = "/usr/local/bin:/usr/bin:/bin";
constexpr int kPipeBytes = 1 << 20;
// One thread and little memory each: several runs share a host, and pack-objects takes both by the core otherwise.
constexpr std::array kSettings{"core.hooksPath=/dev/null",
                               "core.packedGitLimit=256m",
                               "core.packedGitWindowSize=32m",
                               "core.bigFileThreshold=16m",
                               "core.deltaBaseCacheLimit=64m",
                               "credential.helper=",
                               "gc.auto=0",
                               "maintenance.auto=false",
                               "pack.threads=1",
                               "pack.windowMemory=64m",
                               "pack.deltaCacheSize=32m",
                               "pack.writeReverseIndex=true",
                               "protocol.allow=never",
                               "safe.directory=*",
                               "uploadpack.allowAnySHA1InWant=true",
                               "uploadpack.allowFilter=true"};

}  // namespace

Result<base::SpawnOptions> mirror_git_options(const MirrorGitCommand& command) {
  CR_ASSIGN(const auto program, base::find_program("git", kProgramPath));
  base::SpawnOptions options;
  options.argv = {program.native()};
  for (const auto* setting : kSettings)
    options.argv.insert(options.argv.end(), {"-c", setting});
  options.argv.insert(options.argv.end(), command.arguments.begin(), command.arguments.end());
  options.environment = {"PATH=" + std::string(kProgramPath),
                         "HOME=/nonexistent",
                         "LC_ALL=C",
                         "GIT_DIR=" + command.repository.native(),
                         "GIT_CONFIG_NOSYSTEM=1",
                         "GIT_CONFIG_GLOBAL=/dev/null",
                         "GIT_ATTR_NOSYSTEM=1",
                         "GIT_NO_REPLACE_OBJECTS=1",
                         "GIT_TERMINAL_PROMPT=0"};
  if (command.protocol_v2) options.environment.emplace_back("GIT_PROTOCOL=version=2");
  options.working_directory = "/";
  return options;
}

Result<std::unique_ptr<MirrorGit>> MirrorGit::start(const asio::any_io_executor& executor,
                                                    const MirrorGitCommand& command, base::Fd input) {
  CR_ASSIGN(auto options, mirror_git_options(command));
  CR_ASSIGN(auto output, base::make_pipe());
  CR_TRY(base::set_nonblocking(output.read, true));
  (void)::fcntl(output.read.get(), F_SETPIPE_SZ, kPipeBytes);  // fewer wake-ups; the default works too
  base::Fd ours;
  if (!input) {
    CR_ASSIGN(auto pipe, base::make_pipe());
    input = std::move(pipe.read);
    ours = std::move(pipe.write);
    CR_TRY(base::set_nonblocking(ours, true));
    (void)::fcntl(ours.get(), F_SETPIPE_SZ, kPipeBytes);
  }
  options.fds = {{.child_number = 0, .fd = &input}, {.child_number = 1, .fd = &output.write}};
  CR_ASSIGN(auto process, base::Process::spawn(options));
  auto reader = std::make_unique<Pipe>(executor, output.read.release());
  auto writer = ours ? std::make_unique<Pipe>(executor, ours.release()) : nullptr;
  return std::unique_ptr<MirrorGit>(new MirrorGit(std::move(process), std::move(writer), std::move(reader)));
}

Awaitable<Result<std::size_t>> MirrorGit::read(std::span<std::byte> into) {
  auto work = [](Pipe& pipe, std::span<std::byte> buffer) -> Awaitable<Result<std::size_t>> {
    auto [ec, n] = co_await pipe.async_read_some(asio::buffer(buffer.data(), buffer.size()), base::kTuple);
    if (ec == asio::error::eof) co_return std::size_t{0};
    if (ec) co_return base::fail(base::asio_error("read from", "git", ec));
    co_return n;
  };
  auto reading = work(*output_, into);
  co_return co_await base::with_deadline(base::deadline_in(kMirrorSilence), "read from git", std::move(reading));
}

Awaitable<Result<void>> MirrorGit::write(std::span<const std::byte> bytes) {
  auto work = [](Pipe& pipe, std::span<const std::byte> data) -> Awaitable<Result<void>> {
    auto [ec, n] = co_await asio::async_write(pipe, asio::buffer(data.data(), data.size()), base::kTuple);
    if (ec) co_return base::fail(base::asio_error("write to", "git", ec));
    co_return Result<void>{};
  };
  auto writing = work(*input_, bytes);
  co_return co_await base::with_deadline(base::deadline_in(kMirrorSilence), "write to git", std::move(writing));
}

Awaitable<Result<base::ExitStatus>> MirrorGit::wait(base::Deadline deadline) {
  auto work = [](MirrorGit& self) -> Awaitable<Result<base::ExitStatus>> {
    std::array<std::byte, 4096> rest{};
    for (;;) {
      auto [ec, n] = co_await self.output_->async_read_some(asio::buffer(rest), base::kTuple);
      if (ec) break;
    }
    const int copy = ::fcntl(self.process_.pidfd().get(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) co_return base::fail(base::errno_error("watch", "git"));
    Pipe ended(co_await asio::this_coro::executor, copy);
    auto [ec] = co_await ended.async_wait(Pipe::wait_read, base::kTuple);
    if (ec) co_return base::fail(base::asio_error("wait for", "git", ec));
    const auto status = self.process_.try_wait();
    if (!status) co_return base::fail(Code::internal, "git has ended and has not");
    co_return *status;
  };
  auto waiting = work(*this);
  co_return co_await base::with_deadline(deadline, "wait for git", std::move(waiting));
}

Result<base::Fd> memory_file(std::string_view text) {
  base::Fd file(::memfd_create("git-request", MFD_CLOEXEC));
  if (!file) return base::fail(base::errno_error("make", "a memory file"));
  CR_TRY(base::write_all(file, text));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return base::fail(base::errno_error("rewind", "a memory file"));
  return file;
}

}  // namespace cleanroom::git_gateway
