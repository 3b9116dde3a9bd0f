#include "src/runner/request_builder.h"

#include "src/base/os/io.h"
#include "src/base/text/utf8.h"
#include "src/channel/messages.h"
#include "src/runner/buildkite_check.h"
#include "src/runner/buildkite_plugin_config.h"
#include "src/runner/output_globs.h"
#include "src/runner/pipeline_file.h"
#include "src/runner/workspace_disk_git.h"

#include <sys/stat.h>

#include <algorithm>

namespace cleanroom::runner {

using base::Code;
using base::Result;

namespace {

// All output patterns travel in one header section (H2Limits::max_header_bytes).
constexpr std::size_t kMaxPatternBytes = 12 * 1024;

base::Error usage(std::string message) {
  return base::Error(Code::invalid_input, "usage", std::move(message)).with_hint("cleanroom-run --help");
}

Result<std::filesystem::path> existing_directory(const std::string& path) {
  std::error_code ec;
  auto canonical = std::filesystem::canonical(path, ec);
  if (ec) return base::fail(base::errno_error("use the checkout", path, ec.value()));
  if (!std::filesystem::is_directory(canonical, ec))
    return base::fail(base::errno_error("use the checkout", path, ENOTDIR));
  return canonical;
}

// A regular file, reached without following a link.
std::function<bool(const std::string&)> is_file_below(const std::filesystem::path& checkout) {
  return [checkout](const std::string& relative) {
    std::filesystem::path so_far = checkout;
    struct stat info {};
    for (const auto& part : std::filesystem::path(relative)) {
      so_far /= part;
      if (::lstat(so_far.c_str(), &info) != 0 || S_ISLNK(info.st_mode)) return false;
    }
    return S_ISREG(info.st_mode);
  };
}

void append(Notes& into, const Notes& more) {
  into.insert(into.end(), more.begin(), more.end());
}

// What the plugin's options and a pipeline step have in common.
Result<void> take_options(RunRequest& request, const PluginOptions& options) {
  request.image = options.image;
  if (options.policy) {
    // The checkout's author chose this name: a link would make a file of the host count, or its text show in an error.
    if (!is_file_below(request.checkout)(*options.policy)) {
      return base::fail(Code::invalid_input, "policy_missing",
                        fmt::format("cannot use policy '{}': no such regular file in the checkout",
                                    base::escape_for_display(*options.policy)));
    }
    request.policy_file = request.checkout / *options.policy;
  }
  if (options.workdir) request.workdir = *options.workdir;
  request.vcpus = options.vcpus;
  request.memory_mib = options.memory_mib;
  request.timeout = options.timeout;
  request.keep_on_failure = options.keep_on_failure;
  request.debug = options.debug;
  return {};
}

Result<void> take_environment(RunRequest& request, const Environment& host, JobEnvironmentOptions options) {
  options.guest_checkout = request.workdir;
  CR_ASSIGN(auto environment, job_environment(host, options));
  request.environment = std::move(environment.variables);
  append(request.notes, environment.notes);
  return {};
}

// The agent's mirror, if it is where the agent keeps mirrors: the name alone could come from a step's `env`.
std::filesystem::path repo_mirror(const Environment& host) {
  const std::filesystem::path mirrors = value_of(host, "BUILDKITE_GIT_MIRRORS_PATH");
  const std::filesystem::path mirror = value_of(host, "BUILDKITE_REPO_MIRROR");
  if (mirrors.empty() || mirror.empty()) return {};
  std::error_code ec;
  const auto inside =
      std::filesystem::canonical(mirror, ec).lexically_relative(std::filesystem::canonical(mirrors, ec));
  return ec || inside.empty() || *inside.begin() == ".." ? std::filesystem::path() : mirror;
}

// The agent uploads what stands in the checkout afterwards, so that has to come back. Paths of the host it takes
// itself.
void take_artifact_paths(RunRequest& request, std::string_view list) {
  for (auto& pattern : split_artifact_paths(list)) {
    if (is_host_pattern(pattern)) {
      request.notes.push_back(
          {Note::Level::debug, "an artifact path outside of the checkout is the agent's own affair"});
    } else {
      request.outputs.push_back(std::move(pattern));
    }
  }
}

Result<RunRequest> from_agent(const CommandLine& line, const Environment& host) {
  if (!line.command.empty() || line.step)
    return base::fail(usage("cannot use --buildkite together with a command or --step"));
  CR_ASSIGN(const auto step, check_buildkite_step(host, {}));
  RunRequest request;
  const std::string& checkout = value_of(host, "BUILDKITE_BUILD_CHECKOUT_PATH");
  CR_ASSIGN(request.checkout, existing_directory(checkout.empty() ? "." : checkout));
  CR_TRY(take_options(request, step.options));
  request.notes = step.notes;
  request.under_buildkite = true;
  request.repo_mirror = repo_mirror(host);
  request.cancel = cancel_deadlines(host);
  append(request.notes, request.cancel.notes);
  request.pipeline_slug =
      value_of(host, "BUILDKITE_ORGANIZATION_SLUG") + "/" + value_of(host, "BUILDKITE_PIPELINE_SLUG");
  request.repository_url = value_of(host, "BUILDKITE_REPO");
  request.outputs = step.options.outputs;
  take_artifact_paths(request, value_of(host, "BUILDKITE_ARTIFACT_PATHS"));
  const CommandInput input{.command = value_of(host, "BUILDKITE_COMMAND"),
                           .argv = step.options.command,
                           .shell = step.options.shell,
                           .buildkite_shell = value_of(host, "BUILDKITE_SHELL")};
  CR_ASSIGN(request.command, plan_command(input, is_file_below(request.checkout)));
  CR_ASSIGN(auto names, step_variable_names(host));
  CR_TRY(take_environment(request, host,
                          {.requested = step.options.environment,
                           .propagate_step_environment = step.options.propagate_environment,
                           .step_names = std::move(names)}));
  return request;
}

Result<RunRequest> from_pipeline(const CommandLine& line, const Environment& host, RunRequest request) {
  if (!line.command.empty())
    return base::fail(usage("cannot use --step together with a command: the step has its own"));
  std::filesystem::path file;
  if (line.pipeline) {
    file = *line.pipeline;
  } else {
    CR_ASSIGN(file, find_pipeline_file(request.checkout));
  }
  CR_ASSIGN(auto step, read_pipeline_step(file, *line.step, host));
  CR_TRY(take_options(request, step.options));
  if (!request.timeout) request.timeout = step.timeout;
  append(request.notes, step.notes);
  request.outputs = step.options.outputs;
  for (const auto& list : step.artifact_paths)
    take_artifact_paths(request, list);
  const CommandInput input{
      .command = step.command, .argv = step.options.command, .shell = step.options.shell, .buildkite_shell = {}};
  CR_ASSIGN(request.command, plan_command(input, is_file_below(request.checkout)));

  Environment environment = host;
  JobEnvironmentOptions options{.requested = step.options.environment,
                                .propagate_step_environment = step.options.propagate_environment};
  for (const auto& [name, value] : step.environment) {
    environment[name] = value;
    options.step_names.insert(name);
  }
  for (const auto& text : line.environment) {
    CR_ASSIGN(auto requested, parse_environment_request(text));
    options.requested.push_back(std::move(requested));
  }
  if (line.workdir) request.workdir = *line.workdir;
  CR_TRY(take_environment(request, environment, std::move(options)));
  return request;
}

Result<RunRequest> from_command(const CommandLine& line, const Environment& host, RunRequest request) {
  if (line.command.empty() && !line.entrypoint)
    return base::fail(usage("cannot run: no command is given, and no --step"));
  if (line.pipeline) return base::fail(usage("cannot use --pipeline without --step"));
  const CommandInput input{.command = {}, .argv = line.command, .shell = {}, .buildkite_shell = {}};
  if (line.entrypoint) {
    request.command.entrypoint_arguments = line.command;
  } else {
    CR_ASSIGN(request.command, plan_command(input, is_file_below(request.checkout)));
  }
  if (line.workdir) request.workdir = *line.workdir;
  JobEnvironmentOptions options;
  for (const auto& text : line.environment) {
    CR_ASSIGN(auto requested, parse_environment_request(text));
    options.requested.push_back(std::move(requested));
  }
  CR_TRY(take_environment(request, host, std::move(options)));
  return request;
}

// The command line counts before the step's options.
Result<void> take_command_line(RunRequest& request, const CommandLine& line) {
  if (line.image) request.image = line.image;
  if (line.policy) request.policy_file = *line.policy;
  if (line.vcpus) request.vcpus = line.vcpus;
  if (line.memory) {
    CR_ASSIGN(request.memory_mib, parse_memory_mib(*line.memory));
  }
  if (line.timeout) {
    CR_ASSIGN(request.timeout, parse_job_timeout(*line.timeout));
  }
  request.outputs.insert(request.outputs.end(), line.outputs.begin(), line.outputs.end());
  request.backend = line.backend;
  if (line.result_file) request.result_file = *line.result_file;
  if (line.record_file) request.record_file = std::filesystem::absolute(*line.record_file);
  request.accept_emulation = line.allow_emulation;
  request.keep_on_failure |= line.keep_on_failure;
  return {};
}

Result<void> check(const RunRequest& request) {
  if (!request.workdir.starts_with('/') || request.workdir == "/") {
    return base::fail(usage(fmt::format("cannot use workdir '{}': it is an absolute path below '/'", request.workdir)));
  }
  OutputGlobs globs;
  std::size_t request_bytes = 0;
  for (const auto& pattern : request.outputs)
    request_bytes += channel::percent_encode(pattern).size() + sizeof("&pattern=");
  if (request_bytes > kMaxPatternBytes) {
    return base::fail(Code::invalid_input, "command_invalid",
                      fmt::format("cannot ask for these outputs: their patterns take {} bytes, the limit is {}",
                                  request_bytes, kMaxPatternBytes));
  }
  for (const auto& pattern : request.outputs)
    CR_TRY(globs.add(pattern));
  return {};
}

// Of a local checkout; empty when it has none, or is none.
std::string origin_of(const std::filesystem::path& checkout) {
  const auto config = base::read_file(checkout / ".git" / "config", kMaxGitConfigBytes);
  return config ? origin_url(*config).value_or("") : std::string();
}

}  // namespace

Result<RunRequest> build_request(const CommandLine& line, const Environment& host) {
  RunRequest request;
  if (line.entrypoint && (line.buildkite || line.step))
    return base::fail(usage("cannot use --entrypoint with a step: a step has a command of its own"));
  if (line.buildkite) {
    CR_ASSIGN(request, from_agent(line, host));
  } else {
    CR_ASSIGN(request.checkout, existing_directory(line.checkout));
    request.under_buildkite = value_of(host, "BUILDKITE") == "true";
    request.cancel = cancel_deadlines(host);
    if (line.step) {
      CR_ASSIGN(request, from_pipeline(line, host, std::move(request)));
    } else {
      CR_ASSIGN(request, from_command(line, host, std::move(request)));
    }
  }
  CR_TRY(take_command_line(request, line));
  request.identity = credentials::job_identity(host);
  if (!request.under_buildkite) request.repository_url = origin_of(request.checkout);
  CR_TRY(check(request));
  std::sort(request.outputs.begin(), request.outputs.end());
  request.outputs.erase(std::unique(request.outputs.begin(), request.outputs.end()), request.outputs.end());
  return request;
}

}  // namespace cleanroom::runner
