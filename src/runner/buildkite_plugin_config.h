#pragma once
// The plugin's options in a pipeline step. `cleanroom-run --buildkite` reads them from the JSON that the agent gives to
// a plugin's hooks, and from nowhere else: a step's `env:` cannot set or change one (BUILDKITE_PLUGIN_CLEANROOM_* and
// CLEANROOM_* are not read).
//
// plugin.yml holds the same list for editors and for `--plugin-validation`; a test holds the two together. What widens
// what a job may do (emulation, other operator files, repository hooks) is no option: those are the operator's.
#include "src/base/os/result.h"
#include "src/runner/job_environment.h"
#include "src/runner/note.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::runner {

struct PluginOptions {
  std::optional<std::string> image;
  std::optional<std::string> policy;   // relative to the checkout
  std::optional<std::string> workdir;  // absolute, in the guest; default /workspace
  std::vector<EnvironmentRequest> environment;
  bool propagate_environment = true;  // the pipeline's and the step's `env:`
  std::vector<std::string> outputs;   // globs, relative to the checkout
  std::vector<std::string> command;   // argv, run as it is; excludes the step's `command`
  std::vector<std::string> shell;     // argv before the command string; empty = the default shells
  std::optional<std::uint32_t> vcpus;
  std::optional<std::uint64_t> memory_mib;
  std::optional<std::chrono::seconds> timeout;
  bool keep_on_failure = false;
  bool debug = false;
};

inline constexpr std::size_t kMaxPluginJsonBytes = 256 * 1024;

// The names above as a pipeline spells them, with the synonyms, sorted.
const std::vector<std::string>& plugin_option_names();

// `{}`, an object of options, or `null` (a plugin without options). Strict: an unknown or doubled key, null as a value,
// a wrong type or a value out of range is invalid_input (plugin_invalid). A string counts as a list of one.
base::Result<PluginOptions> parse_plugin_configuration(std::string_view json);

// From $BUILDKITE_PLUGIN_CONFIGURATION. Agents leave it out when a value in it is null: then from $BUILDKITE_PLUGINS,
// by the name in $BUILDKITE_PLUGIN_NAME (default "cleanroom"), which says which value is null.
base::Result<PluginOptions> read_plugin_options(const Environment& environment);

// "30", "90s", "15m", "1h30m": positive, at most 24 h. A bare number is seconds.
base::Result<std::chrono::seconds> parse_job_timeout(std::string_view text);
// MiB as a number, or docker's spelling: "512m", "2g", "1048576k". At least 64 MiB.
base::Result<std::uint64_t> parse_memory_mib(std::string_view text);

// The name that the agent gives to a plugin: last segment of its source, lower case, without -buildkite-plugin.
std::string plugin_name_of(std::string_view source);

// The other plugins of this step that would run on the host. `is_file` says whether a path exists (hooks/command under
// $BUILDKITE_PLUGINS_PATH, or a vendored plugin's in the checkout). policy_denied (plugin_conflict) when one has a
// command hook, or is known for one, or this plugin is listed twice; a note for each other.
base::Result<Notes> check_other_plugins(const Environment& environment,
                                        const std::function<bool(const std::string&)>& is_file);

}  // namespace cleanroom::runner
