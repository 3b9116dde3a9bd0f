#pragma once
// From what a person or the agent said to a RunRequest. Three ways in, one result:
//   COMMAND...        the command line says it all
//   --step KEY        a step of a pipeline file, as CI would run it; the command line adds to it
//   --buildkite       the agent's environment and the plugin's options; called by hooks/command
#include "src/base/os/result.h"
#include "src/runner/job_environment.h"
#include "src/runner/run_request.h"

#include <optional>
#include <string>
#include <vector>

namespace cleanroom::runner {

// The command line as parsed, nothing looked up yet.
struct CommandLine {
  bool buildkite = false;
  std::optional<std::string> step;
  std::optional<std::string> pipeline;
  std::optional<std::string> policy;
  std::optional<std::string> image;
  std::string checkout = ".";
  std::optional<std::string> workdir;
  std::vector<std::string> environment;  // K or K=V
  std::vector<std::string> outputs;
  std::string backend = "auto";
  bool allow_emulation = false;
  std::optional<std::uint32_t> vcpus;
  std::optional<std::string> memory;
  std::optional<std::string> timeout;
  std::optional<std::string> result_file;
  std::optional<std::string> record_file;
  bool keep_on_failure = false;
  bool entrypoint = false;  // of the image, with `command` as its arguments
  std::vector<std::string> command;
};

// invalid_input (reason `usage`) when the command line contradicts itself; the errors of pipeline file, plugin options
// and environment otherwise. Reads the pipeline file and Buildkite's env file, and looks for a script in the checkout.
base::Result<RunRequest> build_request(const CommandLine& line, const Environment& host);

}  // namespace cleanroom::runner
