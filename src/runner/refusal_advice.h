#pragma once
// The closing lines of a job log on what was refused: how often, and the entries of cleanroom.yaml that would allow it.
// They promise nothing that the operator's ceiling or a deny rule would take back.
#include "src/egress/summary.h"
#include "src/policy/ceiling.h"

#include <string>
#include <vector>

namespace cleanroom::runner {

// Empty when nothing was refused. Each element is a paragraph: its first line, and lines below it. Printable.
std::vector<std::string> refusal_advice(const egress::Summary& summary, const policy::CeilingLimits& limits);

}  // namespace cleanroom::runner
