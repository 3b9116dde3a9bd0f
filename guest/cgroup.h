#pragma once
// Control groups (cgroup v2) of the job: one below /job for each exec. They bound its memory and processes so that the
// agent stays alive when the job exhausts both, tell whether the kernel killed for memory, and end stragglers.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <string>

namespace cleanroom::guest {

// Mounts cgroup2 in the agent's tree and makes /job with its limits.
base::Result<void> prepare_cgroups();

class Cgroup {
 public:
  static base::Result<Cgroup> create(const std::string& name);
  Cgroup(Cgroup&&) = default;
  Cgroup& operator=(Cgroup&&) = default;
  ~Cgroup();

  const base::Fd& directory() const { return directory_; }  // for CLONE_INTO_CGROUP
  bool had_memory_kill() const;
  void kill_all();

 private:
  Cgroup(std::string path, base::Fd directory) : path_(std::move(path)), directory_(std::move(directory)) {}
  std::string path_;
  base::Fd directory_;
};

}  // namespace cleanroom::guest
