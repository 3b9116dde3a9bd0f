#pragma once
// The job's root filesystem: the image below, the scratch disk above, the workspace and other disks inside, and the
// files that tell the job who and where it is.
//
//   /job (overlay: lower = image disk, read-only; upper = scratch disk)
//     dev   tmpfs with the usual nodes, pts, shm, mqueue      sys   sysfs
//     proc, sys/fs/cgroup: mounted for each command (exec_init.h)
// /tmp and /run are plain directories on the scratch disk: no memory is spent, and what the image put there is seen.
#include "src/base/os/result.h"
#include "src/channel/handshake.h"

namespace cleanroom::guest {

// What does not depend on a job, before READY, so that a template has it: the job's /dev and /sys, the image's mount.
base::Result<void> stage_job_root();

base::Result<void> make_job_root(const channel::StartRecord& start);

}  // namespace cleanroom::guest
