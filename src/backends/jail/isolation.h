#pragma once
// Isolation: which walls stand between a VMM and this host, and why the others do not.
#include "src/model/wall.h"

#include <map>
#include <string>
#include <vector>

namespace cleanroom::backends::jail {

class Isolation {
 public:
  bool has(model::Wall wall) const { return !absent_.contains(wall); }
  // Why it does not stand; empty when it does.
  const std::string& why_absent(model::Wall wall) const;
  void lose(model::Wall wall, std::string why) { absent_[wall] = std::move(why); }
  // All that clone() and mount() make, which are to be had together or not at all here.
  void lose_namespaces(const std::string& why);
  // Those of `wanted` that do not stand, "wall: why".
  std::vector<std::string> missing(const std::vector<model::Wall>& wanted) const;

 private:
  std::map<model::Wall, std::string> absent_;
};

// What every host is expected to give, unlike a delegated cgroup and a user of the runner's own.
const std::vector<model::Wall>& expected_walls();

}  // namespace cleanroom::backends::jail
