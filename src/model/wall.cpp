#include "src/model/wall.h"

#include <algorithm>

namespace cleanroom::model {
namespace {

constexpr std::array<std::string_view, static_cast<std::size_t>(Wall::cgroup) + 1> kNames = {
    "user_namespace", "mount_namespace",  "pid_namespace", "network_namespace", "ipc_namespace",
    "uts_namespace",  "cgroup_namespace", "capabilities",  "no_new_privs",      "seccomp",
    "rlimits",        "unprivileged_uid", "cgroup"};

}  // namespace

std::string_view to_string(Wall wall) {
  return kNames[static_cast<std::size_t>(wall)];
}

std::optional<Wall> parse_wall(std::string_view text) {
  const auto* const found = std::find(kNames.begin(), kNames.end(), text);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Wall>(found - kNames.begin());
}

const std::array<Wall, static_cast<std::size_t>(Wall::cgroup) + 1>& all_walls() {
  static const auto walls = [] {
    std::array<Wall, kNames.size()> all{};
    for (std::size_t i = 0; i < all.size(); ++i)
      all[i] = static_cast<Wall>(i);
    return all;
  }();
  return walls;
}

}  // namespace cleanroom::model
