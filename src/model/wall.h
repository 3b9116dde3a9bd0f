#pragma once
// The walls between a VMM and its host. Their names are keys of run.json's `isolation` and values of config.yaml's
// `require_isolation`; what each is made of: src/backends/jail.
#include <array>
#include <optional>
#include <string_view>

namespace cleanroom::model {

enum class Wall {
  user_namespace,
  mount_namespace,  // a root of its own, with the files of an allow-list and nothing else
  pid_namespace,
  network_namespace,  // without an interface that is up
  ipc_namespace,
  uts_namespace,
  cgroup_namespace,
  capabilities,  // none, and none to be had
  no_new_privs,
  seccomp,  // a list of allowed system calls
  rlimits,
  unprivileged_uid,  // to the host the VMM is not root
  cgroup,            // limits of memory, swap and processes
};

std::string_view to_string(Wall wall);
// nullopt when there is no such wall.
std::optional<Wall> parse_wall(std::string_view text);
// Every wall, in the order above.
const std::array<Wall, static_cast<std::size_t>(Wall::cgroup) + 1>& all_walls();

}  // namespace cleanroom::model
