#pragma once
// The contract between hooks/ and cleanroom-run:
//   hooks/environment: `cleanroom-run --buildkite-check`  exit 0, or 78 with one error; starts and writes nothing
//   hooks/command:     `exec cleanroom-run --buildkite`
//   hooks/pre-exit:    `cleanroom-run --buildkite-sweep`  ends what is left of job $BUILDKITE_JOB_ID; the hook exits 0
// Before each the hooks drop CLEANROOM_*, XDG_*, LD_* and the like from the environment, set HOME from the user
// database and PATH to system folders, so a step's `env:` chooses no file and no program on the host.
#include "src/base/os/result.h"
#include "src/runner/buildkite_plugin_config.h"
#include "src/runner/job_environment.h"
#include "src/runner/note.h"

namespace cleanroom::runner {

struct BuildkiteStep {
  PluginOptions options;
  Notes notes;
};

// All that can be refused before the checkout exists: the plugin's options, the other plugins of the step, the names in
// `environment`. Looks at files below $BUILDKITE_PLUGINS_PATH only. Used by --buildkite-check, and again by
// --buildkite.
base::Result<BuildkiteStep> check_buildkite_step(const Environment& environment,
                                                 const std::vector<std::string>& operator_allowed);

}  // namespace cleanroom::runner
