#pragma once
// The jail around a VMM: starts a program that has nothing of this host but what its profile lists. Needs no root.
// What this host does not give is known before (probe_isolation), and left out.
#include "src/backends/jail/cgroup_leaf.h"
#include "src/backends/jail/isolation.h"
#include "src/backends/jail/minimal_root.h"
#include "src/backends/jail/vmm_profile.h"
#include "src/base/os/process.h"

#include <filesystem>
#include <optional>

namespace cleanroom::backends::jail {

// What this host gives to this user, and where.
struct JailHost {
  Isolation isolation;
  std::filesystem::path cgroup_parent;  // empty: none
};
// Tries it: one child, which makes its namespaces and root and ends. Blocks for some milliseconds.
JailHost probe_jail_host();

// A program in the jail. Destroyed in this order: the process is killed and reaped, then its cgroup removed.
struct JailedProcess {
  CgroupLeaf cgroup;
  base::Process process;
  base::Fd directory = {};  // VmmProfile::directory, O_PATH: names in it can be connected to
};

// Process::spawn() in the jail; `options.setup` and `working_directory` are the jail's. not_found: a file of the
// profile is not there; failed_precondition: the jail cannot be made, though the probe could, or the program not
// started.
base::Result<JailedProcess> spawn_jailed(base::SpawnOptions options, const VmmProfile& profile, const JailHost& host);

}  // namespace cleanroom::backends::jail
