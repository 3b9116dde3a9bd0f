#pragma once
// What git in the guest is told, so that the URLs people write lead to the gateway.
#include "src/git_gateway/git_rules.h"

#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::git_gateway {

inline constexpr std::string_view kGuestConfigPath = "/run/cleanroom/gitconfig";

// A git configuration file with `url.*.insteadOf` for the usual spellings of each host (git-config(1)). A remote keeps
// the URL it was given, so relative submodule URLs and what tools show stay as they are.
std::string guest_git_config(const std::vector<RewrittenHost>& hosts);

// One variable of an environment.
struct Variable {
  std::string name;
  std::string value;
};
// GIT_CONFIG_COUNT and its pair, which make git (2.31 and later) read that file besides its own. `count` is what the
// job's environment says already: those entries stay.
std::vector<Variable> guest_git_variables(std::size_t count);

}  // namespace cleanroom::git_gateway
