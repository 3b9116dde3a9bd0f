#pragma once
// The closing lines of a job log on what was refused: how often, and the entries of cleanroom.yaml that would allow it.
// They promise nothing that the operator's ceiling or a deny rule would take back.
#include "src/egress/summary.h"
#include "src/policy/ceiling.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace cleanroom::runner {

// Empty when nothing was refused. Each element is a paragraph: its first line, and lines below it. Printable.
std::vector<std::string> refusal_advice(const egress::Summary& summary, const policy::CeilingLimits& limits);

// Repositories that the gateway refused for want of an entry: by host. `refused` holds canonical hosts and paths that
// the gateway has parsed.
using RefusedRepositories = std::map<std::string, std::set<std::string>>;
std::vector<std::string> git_advice(const RefusedRepositories& refused);

}  // namespace cleanroom::runner
