#include "src/backends/jail/isolation.h"

#include <fmt/format.h>

namespace cleanroom::backends::jail {

using model::Wall;

const std::string& Isolation::why_absent(Wall wall) const {
  static const std::string none;
  const auto found = absent_.find(wall);
  return found == absent_.end() ? none : found->second;
}

void Isolation::lose_namespaces(const std::string& why) {
  for (const auto wall : {Wall::user_namespace, Wall::mount_namespace, Wall::pid_namespace, Wall::network_namespace,
                          Wall::ipc_namespace, Wall::uts_namespace, Wall::cgroup_namespace})
    lose(wall, why);
}

std::vector<std::string> Isolation::missing(const std::vector<Wall>& wanted) const {
  std::vector<std::string> lines;
  for (const auto wall : wanted) {
    if (!has(wall)) lines.push_back(fmt::format("{}: {}", model::to_string(wall), why_absent(wall)));
  }
  return lines;
}

const std::vector<Wall>& expected_walls() {
  static const std::vector<Wall> walls = {Wall::user_namespace,    Wall::mount_namespace, Wall::pid_namespace,
                                          Wall::network_namespace, Wall::ipc_namespace,   Wall::uts_namespace,
                                          Wall::cgroup_namespace,  Wall::capabilities,    Wall::no_new_privs,
                                          Wall::seccomp,           Wall::rlimits};
  return walls;
}

}  // namespace cleanroom::backends::jail
