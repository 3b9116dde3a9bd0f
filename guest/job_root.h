#pragma once
// The job's root filesystem: the image below, the scratch disk above, the workspace and other disks inside, and the
// files that tell the job who and where it is.
//
//   /job (overlay: lower = image disk, read-only; upper = scratch disk)
//     dev   tmpfs with the usual nodes, pts, shm, mqueue      sys   sysfs
//     proc, sys/fs/cgroup: mounted for each command (exec_init.h)
// /tmp and /run are plain directories on the scratch disk: no memory is spent, and what the image put there is seen.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/channel/handshake.h"

#include <string>
#include <vector>

namespace cleanroom::guest {

class JobRoot {
 public:
  // All that does not depend on a job, before READY, so that a template has it: the overlay with /dev and /sys, and the
  // files that START gives their content.
  static base::Result<JobRoot> stage();

  // Reads ahead what commands read first.
  void warm() const;

  // After START: the files that tell the job which machine it is on. Once.
  base::Result<void> write_identity(const std::string& hostname);
  // After START. What is mounted appears in the commands' namespaces too, which may be there already.
  base::Result<void> mount_disks(const std::vector<channel::DiskMount>& mounts) const;

 private:
  base::Result<void> stage_files();

  std::vector<std::string> disks_;  // device names by slot
  base::Fd directory_;
  base::Fd workspace_;           // where it is usually mounted
  bool made_workspace_ = false;  // the image has no such directory
  // Open for writing; they hold nothing of use until START.
  base::Fd hostname_;
  base::Fd hosts_;
  std::vector<base::Fd> machine_ids_;
};

}  // namespace cleanroom::guest
