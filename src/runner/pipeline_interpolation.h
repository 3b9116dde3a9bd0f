#pragma once
// Variables in a pipeline file, as `buildkite-agent pipeline upload` expands them (buildkite/interpolate): $NAME,
// ${NAME}, ${NAME:-default}, ${NAME-default}, ${NAME?message}, ${NAME:offset[:length]}, $$ and \$ for a dollar. $( is
// left alone. An unset name is empty. This is text substitution: nothing is run.
#include "src/base/os/result.h"
#include "src/runner/job_environment.h"

#include <string>
#include <string_view>

namespace cleanroom::runner {

// invalid_input (pipeline_invalid): bad syntax, a required name that is not set, more than 64 levels or 4 MiB of
// result.
base::Result<std::string> interpolate(std::string_view text, const Environment& environment);

}  // namespace cleanroom::runner
