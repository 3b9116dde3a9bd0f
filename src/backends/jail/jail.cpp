#include "src/backends/jail/jail.h"

#include "src/backends/jail/confinement.h"
#include "src/base/os/io.h"

#include <unistd.h>

namespace cleanroom::backends::jail {

using base::Code;
using base::Result;
using model::Wall;

namespace {

// What the probe binds, to know that it can.
const std::vector<JailFile>& probe_files() {
  static const std::vector<JailFile> files = {{"/dev/null", JailFile::Use::device}};
  return files;
}

Result<void> try_namespaces() {
  CR_ASSIGN(auto root, MinimalRoot::plan(probe_files()));
  const Confinement confinement({.root = std::move(root), .seccomp = nullptr, .limits = {}});
  return base::Process::rehearse(confinement);
}

}  // namespace

JailHost probe_jail_host() {
  JailHost host;
  if (const auto tried = try_namespaces(); !tried) {
    host.isolation.lose_namespaces("no user namespace with mounts for this user: " + tried.error().message);
  }
  if (::geteuid() == 0) {
    host.isolation.lose(Wall::unprivileged_uid,
                        "the runner is root, and so is the VMM, though without capabilities; run as an ordinary user");
  }
  auto parent = find_cgroup_parent();
  if (parent)
    host.cgroup_parent = std::move(*parent);
  else
    host.isolation.lose(Wall::cgroup, parent.error().message);
  return host;
}

Result<JailedProcess> spawn_jailed(base::SpawnOptions options, const VmmProfile& profile, const JailHost& host) {
  CR_ASSIGN(const auto program, base::find_program(options.argv.at(0)));
  options.argv[0] = program.native();
  Confinement::Options walls{.root = std::nullopt, .seccomp = profile.seccomp, .limits = profile.limits};
  if (host.isolation.has(Wall::mount_namespace)) {
    CR_ASSIGN(walls.root, MinimalRoot::plan(profile.files));
  }
  CgroupLeaf cgroup;
  if (!host.cgroup_parent.empty()) {
    const CgroupLimits limits{.memory_bytes = profile.limits.memory_bytes, .processes = profile.limits.threads};
    CR_ASSIGN(cgroup, CgroupLeaf::create(host.cgroup_parent, limits));
  }
  walls.cgroup_entrance = cgroup.entrance();
  const Confinement confinement(std::move(walls));
  options.setup = &confinement;
  options.working_directory.clear();
  CR_ASSIGN(auto process, base::Process::spawn(options));
  return JailedProcess{std::move(cgroup), std::move(process)};
}

}  // namespace cleanroom::backends::jail
