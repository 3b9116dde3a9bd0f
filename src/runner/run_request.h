#pragma once
// RunRequest: everything one run was asked to do, from the command line, a pipeline step or the plugin, checked as far
// as it can be without looking at the policy. What happened is a RunRecord.
#include "src/channel/handshake.h"
#include "src/credentials/job_identity.h"
#include "src/runner/buildkite_cancel.h"
#include "src/runner/default_command.h"
#include "src/runner/job_environment.h"

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::runner {

inline constexpr const char* kDefaultWorkdir = channel::kDefaultWorkspace;
inline constexpr std::uint32_t kDefaultVcpus = 2;
inline constexpr std::uint64_t kDefaultMemoryMib = 1024;
inline constexpr std::uint64_t kDefaultDiskMib = 10240;
inline constexpr std::chrono::seconds kDefaultLaunchTimeout{60};

struct RunRequest {
  CommandPlan command;
  Environment environment;                           // of the job; the image's own is added below it
  std::filesystem::path checkout;                    // absolute
  std::optional<std::filesystem::path> policy_file;  // nullopt: looked up in the checkout
  std::optional<std::string> image;                  // overrides the policy's
  std::string workdir = kDefaultWorkdir;             // the checkout's place in the guest
  std::vector<std::string> outputs;                  // globs relative to the checkout
  std::string backend = "auto";
  std::optional<std::uint32_t> vcpus;
  std::optional<std::uint64_t> memory_mib;
  std::optional<std::chrono::seconds> timeout;
  std::optional<std::filesystem::path> result_file;
  // --record: run under the operator's ceiling and write here what was needed.
  std::optional<std::filesystem::path> record_file;
  std::filesystem::path repo_mirror;  // the agent's git mirror, whose objects the checkout may borrow; may be empty
  std::string repository_url;         // BUILDKITE_REPO, or the checkout's remote `origin`; may be empty
  credentials::JobIdentity identity;  // for the scopes of credential bindings
  std::string pipeline_slug;          // "org/pipeline" under Buildkite, for the ceiling
  bool under_buildkite = false;
  bool accept_emulation = false;  // --allow-emulation: a person said so; counts outside Buildkite only
  bool keep_on_failure = false;
  bool debug = false;
  CancelDeadlines cancel;
  Notes notes;
};

}  // namespace cleanroom::runner
