#pragma once
// Machine: one Firecracker process and all that passes between it and us, as coroutines that share its ownership.
//
//   start    waits for the API socket, then sends the calls that boot or restore the guest
//   accept   one for each stream that the guest dials (stream_listener.h)
//   watch    notices the end of the process
//
// Whoever waits for one of them waits for changed_, and looks again. One thread. end() makes all of them return.
#include "src/backends/backend.h"
#include "src/backends/firecracker/api_client.h"
#include "src/backends/firecracker/stream_listener.h"
#include "src/backends/jail/jail.h"
#include "src/base/async/event.h"
#include "src/base/os/temp_dir.h"

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

namespace cleanroom::backends::firecracker {

inline constexpr std::chrono::seconds kCallLimit{60};           // one API call; a host under emulation is slow
inline constexpr std::chrono::milliseconds kFlushLimit{50};     // the last metrics, before SIGKILL
inline constexpr std::chrono::milliseconds kApiSocketPause{2};  // between two looks for it
inline constexpr std::chrono::seconds kApiSocketLimit{30};

enum class Stream : std::size_t { control = 0, network = 1 };

struct MachineParts {
  std::optional<base::TempDir> directory;  // the process's working directory, where the jail has none in memory
  StreamListener control;
  StreamListener network;
  std::vector<jail::Loan> loans;
  jail::JailedProcess jailed;
};

class Machine : public std::enable_shared_from_this<Machine> {
 public:
  Machine(base::asio::any_io_executor executor, MachineParts parts);

  // Once.
  void run(std::vector<ApiCall> calls);
  // The stream, when the guest has dialled it. launch_failed: a call was refused, or the process ended first;
  // launch_timeout.
  base::Awaitable<base::Result<channel::StreamSocket>> take(Stream stream, base::Deadline deadline);
  // When the calls of run() are done; errors as of take().
  base::Awaitable<base::Result<void>> wait_started(base::Deadline deadline);
  // One after the other, up to the first that fails; after those under way.
  base::Awaitable<base::Result<void>> perform(std::vector<ApiCall> calls, base::Deadline deadline);
  base::Awaitable<VmmEnd> wait_end();
  pid_t pid() const { return pid_; }
  // SIGKILL, after the VMM had a moment to write its last metrics.
  void kill();
  // SIGKILL now, and reaped. Nothing of it is used afterwards.
  void end();

 private:
  base::Awaitable<void> start(std::vector<ApiCall> calls);
  base::Awaitable<base::Result<void>> connect_api();
  base::Awaitable<void> accept(Stream stream);
  base::Awaitable<void> watch();
  base::Awaitable<void> flush_and_kill();
  // Why nothing more is to be expected of it; nullopt while there is.
  std::optional<base::Error> dead() const;
  base::Error ended_early() const;
  void fail_start(base::Error error);
  StreamListener& listener(Stream stream) { return stream == Stream::control ? control_ : network_; }

  base::asio::any_io_executor executor_;
  std::optional<base::TempDir> directory_;
  base::Fd directory_fd_;
  StreamListener control_;  // its coroutine uses it to its end, which may be after end()
  StreamListener network_;
  std::vector<jail::Loan> loans_;  // these two go after their process
  jail::CgroupLeaf cgroup_;
  std::optional<base::Process> process_;  // none after end()
  pid_t pid_;
  base::Event changed_;
  std::optional<ApiClient> api_;
  bool started_ = false;
  bool calling_ = false;
  bool killing_ = false;
  bool out_of_memory_ = false;
  std::optional<base::Error> failure_;
  std::optional<base::ExitStatus> exit_;
  std::array<std::optional<channel::StreamSocket>, 2> streams_;
};

}  // namespace cleanroom::backends::firecracker
