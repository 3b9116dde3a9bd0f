#pragma once
// The first process of a command's PID namespace. It makes the command's view of the machine (mounts, root), starts the
// command, reaps orphans and passes signals on. When the command ends, it reports and ends too, and the kernel then
// kills all that the command left behind.
//
//   agent ── clone ──> init (pid 1 of the namespace) ── fork ──> the command
#include "src/base/os/fd.h"
#include "src/channel/messages.h"

namespace cleanroom::guest {

inline constexpr const char* kJobRoot = "/job";  // in the agent's tree

// init -> agent, one datagram: what encode(Exited) or encode(ExecFailed) gives. agent -> init: a signal's number, a
// byte.
struct ExecChannels {
  base::Fd control;  // init's end
  base::Fd input;    // 0, 1 and 2 of the command
  base::Fd output;
  base::Fd errors;
};

// Runs in the cloned child, never returns.
[[noreturn]] void run_exec_init(const channel::ExecRequest& request, const ExecChannels& channels);

}  // namespace cleanroom::guest
