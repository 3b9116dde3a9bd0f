#include "src/backends/kernel/kernel_fetch.h"

#include "src/backends/kernel/bundled_files.h"
#include "src/base/os/process.h"
#include "src/base/os/temp_dir.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace cleanroom::backends {

using base::Code;
using base::Result;

namespace {

constexpr std::chrono::hours kFetchLimit{1};          // a slow line; the scripts wait ten minutes for each other
constexpr std::chrono::seconds kScriptStopLimit{10};  // for a script that was asked to end
// What apt and the scripts go by; nothing else of our environment reaches them.
constexpr const char* kPassed[] = {"PATH",     "HOME",       "XDG_DATA_HOME", "XDG_CACHE_HOME",
                                   "TMPDIR",   "APT_CONFIG", "http_proxy",    "https_proxy",
                                   "no_proxy", "HTTP_PROXY", "HTTPS_PROXY",   "NO_PROXY"};

std::vector<std::string> passed_environment() {
  std::vector<std::string> environment;
  for (const char* name : kPassed) {
    if (const char* value = std::getenv(name); value != nullptr)
      environment.push_back(fmt::format("{}={}", name, value));
  }
  return environment;
}

Result<base::ExitStatus> wait_for_script(base::Process& process, const base::Fd* interrupt) {
  std::array<pollfd, 2> entries{pollfd{process.pidfd().get(), POLLIN, 0},
                                pollfd{interrupt != nullptr ? interrupt->get() : -1, POLLIN, 0}};
  const auto limit = std::chrono::milliseconds(kFetchLimit).count();
  const int ready = ::poll(entries.data(), entries.size(), static_cast<int>(limit));
  if (ready > 0 && entries[0].revents != 0) return process.wait(base::deadline_in(kScriptStopLimit));
  process.signal(SIGTERM);  // the script's own trap removes what it has begun
  (void)process.wait(base::deadline_in(kScriptStopLimit));
  if (ready == 0) return base::fail(Code::timeout, "it took more than an hour");
  return base::fail(Code::cancelled, "cancelled");
}

Result<void> run_script(const char* script, const char* what, Refresh refresh, const base::Fd* interrupt) {
  std::error_code ec;
  const auto temporary = std::filesystem::temp_directory_path(ec);
  if (ec) return base::fail(base::errno_error("find", "the folder for temporary files", ec.value()));
  CR_ASSIGN(const auto directory, base::TempDir::create(temporary, "cleanroom-fetch."));
  CR_TRY(unpack_bundled_scripts(directory.path()));
  const base::Fd standard_error(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
  base::SpawnOptions options{.argv = {"bash", (directory.path() / script).native()},
                             .environment = passed_environment()};
  if (refresh == Refresh::look_for_newer) options.argv.emplace_back("--refresh");
  if (standard_error) options.fds = {{1, &standard_error}, {2, &standard_error}};
  CR_ASSIGN(auto process, base::Process::spawn(options));
  auto status = wait_for_script(process, interrupt);
  if (!status) return base::fail(std::move(status.error()).with_context(fmt::format("cannot fetch {}", what)));
  if (status->success()) return {};
  return base::fail(
      base::Error(Code::unavailable, "kernel_unavailable",
                  fmt::format("cannot fetch {}: {} ended with {}", what, script, base::to_string(*status)))
          .with_hint("its messages stand above; it needs apt-get with sources of Debian 12, and the network"));
}

}  // namespace

Result<void> fetch_distribution_kernel(Refresh refresh, const base::Fd* interrupt) {
  return run_script("scripts/prepare-kernel", "the distribution's kernel", refresh, interrupt);
}

Result<void> fetch_distribution_source(Refresh refresh, const base::Fd* interrupt) {
  return run_script("scripts/fetch-kernel-source", "the distribution's kernel source", refresh, interrupt);
}

}  // namespace cleanroom::backends
