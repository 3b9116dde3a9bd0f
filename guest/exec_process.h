#pragma once
// ExecProcess: a command's processes, before there is a command. Its cgroup, its namespaces with their mounts, and the
// process that becomes the command are made first, and wait for the request: those of the first command before READY,
// so that a template has them.
#include "guest/cgroup.h"
#include "src/base/os/clock.h"
#include "src/channel/messages.h"

#include <sys/types.h>

#include <optional>

namespace cleanroom::guest {

// 0, 1 and 2 of a command.
struct ExecStreams {
  base::Fd input;
  base::Fd output;
  base::Fd errors;
};

class ExecProcess {
 public:
  // Clones the init (exec_init.h), which goes on by itself.
  static base::Result<ExecProcess> prepare();
  // Waits until all of it is made. Without it a request waits for that.
  base::Result<void> wait_prepared(base::Deadline deadline) const;
  ExecProcess(ExecProcess&&) = default;
  ExecProcess& operator=(ExecProcess&&) = delete;
  // Kills the init, and with it all of its namespace, unless end() was called. The loop reaps it.
  ~ExecProcess();

  // Never blocks. An error: the processes are gone. Once.
  base::Result<void> run(const channel::ExecRequest& request, const ExecStreams& streams);
  // The command waits for this before it looks at the job's files. After run(), never blocks. An error as there. Once.
  base::Result<void> announce_disks();

  // A datagram comes from it when the command has ended or could not be started; a byte to it is a signal for the
  // command.
  const base::Fd& control() const { return control_; }
  void close_control() { control_.reset(); }
  Cgroup& cgroup() { return cgroup_; }
  pid_t pid() const { return pid_; }
  void kill();
  // It was reaped.
  void end() { pidfd_.reset(); }

 private:
  explicit ExecProcess(Cgroup cgroup) : cgroup_(std::move(cgroup)) {}
  Cgroup cgroup_;
  base::Fd control_;
  base::Fd request_;  // a memfd: the encoded ExecRequest
  base::Fd go_;       // the command's streams, when the request is complete
  pid_t pid_ = 0;
  base::Fd pidfd_;
};

}  // namespace cleanroom::guest
