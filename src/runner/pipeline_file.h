#pragma once
// One step of a pipeline file, for `cleanroom-run --step KEY [--pipeline FILE]`: the same job on a laptop as in CI.
// Variables are interpolated as `pipeline upload` does ($NAME, ${NAME:-default}, $$). YAML with anchors, aliases and
// merge keys, or JSON.
#include "src/base/os/result.h"
#include "src/runner/buildkite_plugin_config.h"
#include "src/runner/job_environment.h"
#include "src/runner/note.h"

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::runner {

inline constexpr std::size_t kMaxPipelineBytes = 1024 * 1024;

struct PipelineStep {
  std::string key;
  std::string label;    // may be empty
  std::string command;  // `command`/`commands`, newline-joined as the agent gets them; may be empty
  Environment
      environment;  // the pipeline's `env`, over it the step's; their names are JobEnvironmentOptions::step_names
  std::string plugin_source;  // as written, "cleanroom#v1.0.0"; empty: the step does not use the plugin
  PluginOptions options;
  std::optional<std::chrono::seconds> timeout;  // timeout_in_minutes
  std::vector<std::string> artifact_paths;
  Notes notes;  // other plugins of the step (they run on the host in CI), and what does not apply on a laptop
};

// The first of .buildkite/pipeline.{yml,yaml,json}, buildkite.{yml,yaml,json} in `checkout`; not_found names them.
base::Result<std::filesystem::path> find_pipeline_file(const std::filesystem::path& checkout);

// not_found (pipeline_invalid) for an unknown key, with the known ones; invalid_input for a file that cannot be read as
// a pipeline, or a step that cannot run here (matrix, wait, block, trigger). `environment` is what interpolation sees
// below the pipeline's own `env`.
base::Result<PipelineStep> read_pipeline_step(const std::filesystem::path& file, std::string_view key,
                                              const Environment& environment);
base::Result<PipelineStep> parse_pipeline_step(std::string_view text, const std::string& file_name,
                                               std::string_view key, const Environment& environment);

}  // namespace cleanroom::runner
