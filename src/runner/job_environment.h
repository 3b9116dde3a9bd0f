#pragma once
// Which of the host's environment variables a job sees in its VM. A variable is let in because a list names it; nothing
// gets in because no list forbids it.
//
// In this order:
//  1. `requested` (--env, the plugin's `environment`): NAME=VALUE as written; NAME with the host's value, refused when
//  it
//     is a credential or belongs to the host;
//  2. the pipeline's and the step's own `env:` (Buildkite's env file names them), unless switched off;
//  3. the list of BUILDKITE_* facts about build and step, CI, TERM and the trace context.
// Whatever looks like a credential is left out of 2 and 3 with a note, unless the operator lists it. The agent's token,
// its Job API and its plugin configuration stay out even then.
#include "src/base/os/result.h"
#include "src/runner/note.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::runner {

using Environment = std::map<std::string, std::string, std::less<>>;

// A copy of an envp array; entries without '=' are left out, the first of two equal names counts.
Environment environment_from(const char* const* envp);

// Empty where `name` is not set. Lives as long as `environment`.
const std::string& value_of(const Environment& environment, std::string_view name);

// `--env K[=V]`: no value = the host's.
struct EnvironmentRequest {
  std::string name;
  std::optional<std::string> value;
  bool operator==(const EnvironmentRequest&) const = default;
};
// "K" or "K=V"; V may hold anything but NUL. K is [A-Za-z_][A-Za-z0-9_]*, else invalid_input (environment_refused).
base::Result<EnvironmentRequest> parse_environment_request(std::string_view text);

// execve(2) takes no longer "NAME=VALUE" than 128 KiB with its NUL; all of them together must leave room for argv.
inline constexpr std::size_t kMaxVariableBytes = 128 * 1024 - 1;
inline constexpr std::size_t kMaxEnvironmentBytes = 1024 * 1024;

struct JobEnvironmentOptions {
  std::vector<EnvironmentRequest> requested;
  bool propagate_step_environment = true;
  std::set<std::string, std::less<>> step_names;  // step_variable_names(), or a pipeline file's
  // Names, or prefixes written NAME_*, that the operator lets in although they look like credentials.
  std::vector<std::string> operator_allowed;
  std::string guest_checkout = "/workspace";  // what BUILDKITE_BUILD_CHECKOUT_PATH says in the guest
};

struct JobEnvironment {
  Environment variables;
  Notes notes;
};

// Pure. policy_denied (environment_refused): a requested name is not let in; invalid_input: over the limits. A
// requested name that the host does not have is a warning, as with docker's -e.
base::Result<JobEnvironment> job_environment(const Environment& host, const JobEnvironmentOptions& options);

// The names in the `env:` of pipeline and step: reads the file of $BUILDKITE_ENV_JSON_FILE, else $BUILDKITE_ENV_FILE.
// Empty when neither is set (old agents, `bootstrap` without an agent). Blocks on a regular file, at most 4 MiB.
base::Result<std::set<std::string, std::less<>>> step_variable_names(const Environment& host);
// The two formats, for tests: a JSON object of strings; lines NAME="go-quoted", where a bare NAME is an agent's own.
base::Result<std::set<std::string, std::less<>>> names_in_env_json(std::string_view text);
std::set<std::string, std::less<>> names_in_env_file(std::string_view text);

// A URL without what stands before its '@': all of it for http(s), the password for others. scp-like addresses are
// left.
std::string without_userinfo(std::string_view url);

}  // namespace cleanroom::runner
