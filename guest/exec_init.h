#pragma once
// The first process of a command's PID namespace. It makes the command's view of the machine (mounts, root) and the
// process that becomes the command, reaps orphans and passes signals on. When the command ends, it reports and ends
// too, and the kernel then kills all that the command left behind.
//
//   agent ── clone ──> init (pid 1 of the namespace) ── fork ──> waits for its request, becomes the command
namespace cleanroom::guest {

inline constexpr const char* kJobRoot = "/job";  // in the agent's tree

// Descriptors that the init inherits.
struct InitFds {
  int control = -1;  // to the agent, one datagram: what encode(Exited) or encode(ExecFailed) gives. From it: a signal's
                     // number, a byte
  int request = -1;  // a file: the encoded ExecRequest, complete when `go` says so
  int go = -1;       // to the agent: a byte, when all is made. From it, two datagrams: the command's 0, 1 and 2 as
                     // descriptors; a byte, once the job's disks are mounted
};

// Runs in the cloned child, never returns.
[[noreturn]] void run_exec_init(const InitFds& fds);

}  // namespace cleanroom::guest
