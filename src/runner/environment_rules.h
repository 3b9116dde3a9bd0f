#pragma once
// What the name of a variable says about it. Names compare without regard to case.
#include "src/runner/job_environment.h"

#include <string_view>
#include <vector>

namespace cleanroom::runner {

enum class VariableKind {
  ordinary,
  build_fact,   // passed by default: what Buildkite says about this build and step
  host_owned,   // the host's PATH, HOME, loader settings, proxies: means nothing, or harm, in the guest
  credential,   // looks like one, or points at one
  agent_owned,  // the agent's token, Job API and configuration: never enters a guest
};

// `redacted` are the patterns of $BUILDKITE_REDACTED_VARS ('*' matches any run of characters).
VariableKind kind_of_variable(std::string_view name, const std::vector<std::string>& redacted);

// '*' matches any run of characters, everything else itself, without regard to ASCII case.
bool matches_pattern(std::string_view pattern, std::string_view text);

// The comma-separated patterns of $BUILDKITE_REDACTED_VARS, or none.
std::vector<std::string> redacted_patterns(const Environment& host);

}  // namespace cleanroom::runner
