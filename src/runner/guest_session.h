#pragma once
// GuestSession: the host's side of the control channel of one VM, from READY to power-off. Everything the guest says is
// a claim: it can end this job in failure and nothing else.
//
//   await_ready():  READY <- guest; of a restored VM long ago
//   start():        START -> guest, then HTTP/2 (src/channel/handshake.h, messages.h)
//   exec():   one command; output is passed on as it comes, and waits while the sink does
//   fetch_files(): a tar of what the patterns match, as raw bytes
#include "src/backends/backend.h"
#include "src/channel/handshake.h"
#include "src/channel/messages.h"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <memory>
#include <string>
#include <vector>

namespace cleanroom::runner {

// Takes output of the job; its Awaitable completes when there is room for more.
class JobOutputSink {
 public:
  virtual ~JobOutputSink() = default;
  virtual base::Awaitable<base::Result<void>> write(channel::FrameType stream, std::span<const std::byte> bytes) = 0;
};

// READY on a VM's control stream. launch_timeout: it does not come in time. launch_failed: the VM ended first.
// protocol_error.
base::Awaitable<base::Result<void>> await_ready(channel::StreamSocket& control, base::Deadline deadline);

class GuestSession {
 public:
  // Of a VM that has said READY: sends START and waits until the agent answers. Errors as of await_ready().
  static base::Awaitable<base::Result<std::unique_ptr<GuestSession>>> start(channel::StreamSocket control,
                                                                            channel::StartRecord start,
                                                                            base::Deadline deadline);
  ~GuestSession();

  // Runs to the command's end. agent_lost: the channel ended before the exit status (never a success).
  // not_found (command_not_found) when the command could not be started.
  base::Awaitable<base::Result<channel::Exited>> exec(channel::ExecRequest request, JobOutputSink& sink);
  // To the process group of a running exec. Best effort: a guest that does not answer is killed by its deadline anyway.
  base::Awaitable<void> signal(std::string exec_id, int number, base::Deadline deadline);
  // The tar bytes go to `into` (the write end of a pipe), at the pace of its reader, and it is closed at the end. A
  // reader that goes away ends the transfer without an error: it says itself why.
  base::Awaitable<base::Result<void>> fetch_files(std::string directory, std::vector<std::string> patterns,
                                                  base::asio::posix::stream_descriptor& into);
  // Writes a tar below `directory`.
  base::Awaitable<base::Result<void>> put_files(std::string directory, std::vector<std::byte> tar);

 private:
  explicit GuestSession(std::shared_ptr<channel::H2Connection> connection) : connection_(std::move(connection)) {}
  base::Awaitable<base::Result<channel::H2Stream>> call(channel::Headers headers, channel::EndStream end);
  std::shared_ptr<channel::H2Connection> connection_;
};

}  // namespace cleanroom::runner
