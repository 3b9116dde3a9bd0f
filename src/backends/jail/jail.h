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

// A file that belongs to a VMM's user for as long as this lives, and to the runner's again afterwards; VMMs may read it
// then. Must outlive the VMM's process.
class Loan {
 public:
  Loan() = default;  // of nothing
  explicit Loan(base::Fd file) : file_(std::move(file)) {}
  Loan(Loan&&) noexcept = default;
  Loan& operator=(Loan&&) = delete;
  ~Loan();

 private:
  base::Fd file_;
};

// What this host gives to this user, and where.
struct JailHost {
  Isolation isolation;
  std::filesystem::path cgroup_parent;  // empty: none
  std::optional<VmmUser> user = {};     // when the runner is root, and can give its VMMs another

  // So that a VMM may open such a file by name; nothing is done where it has the runner's user. The first is for files
  // that end with the VM.
  base::Result<void> let_write(const base::Fd& file) const;
  base::Result<void> let_read(const std::filesystem::path& file) const;
  base::Result<Loan> lend(const base::Fd& file) const;
};
// Tries it: a child that makes its namespaces and root and ends; as root maybe two. Blocks for some milliseconds.
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
