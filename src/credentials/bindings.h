#pragma once
// credentials.yaml: which credential the gateway may send where, and for whose jobs. The file holds no secret, only
// where each comes from. docs/credentials.md explains it to operators.
#include "src/base/os/result.h"
#include "src/base/text/diagnostic.h"
#include "src/model/host_name.h"
#include "src/policy/compiled_policy.h"
#include "src/policy/operator_config.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::credentials {

enum class Method { git_read, git_push, http_get, registry_pull };
enum class SourceKind { env, file, command, git_credential, agent_secret };
enum class Scheme { basic, bearer, header };

std::string_view to_string(Method method);    // as in the file: git-read, ...
std::string_view to_string(SourceKind kind);  // as in the file: git-credential, ...

struct Source {
  SourceKind kind = SourceKind::env;
  std::string name;                  // env: variable; file: absolute path; agent-secret: key
  std::vector<std::string> command;  // argv[0] is an absolute path
};

struct Binding {
  std::string id;
  model::HostName host;
  std::uint16_t port = 443;
  // Patterns (path_pattern.h), never empty; of git repositories without a trailing .git.
  std::vector<std::string> paths;
  std::vector<Method> methods;         // never empty; registry_pull stands alone
  std::vector<std::string> pipelines;  // patterns, or "local"; empty = all
  std::vector<std::string> branches;   // patterns; empty = all
  bool forks = false;
  Source source;
  Scheme scheme = Scheme::basic;
  std::string username;  // basic; empty = the source's, else kDefaultUsername
  std::string header_name = "Authorization";

  // It is for image repositories: `host` is as references name a registry, and `header` is not its scheme.
  bool for_registry() const { return !methods.empty() && methods.front() == Method::registry_pull; }
};
inline constexpr std::string_view kDefaultUsername = "x-access-token";

struct Bindings {
  std::optional<std::filesystem::path> file;  // nullopt: there is no credentials.yaml, and so no binding
  std::vector<Binding> entries;               // in the order of the file
};

// Blocks (reads a file). config_insecure and config_invalid as for config.yaml.
base::Result<Bindings> load_bindings(const policy::OperatorPaths& paths, base::Diagnostics* diagnostics = nullptr);

// failed_precondition (credential_unavailable) when the policy asks for a git credential that no binding has.
base::Result<void> check_requested(const Bindings& bindings, const std::vector<policy::SecretRequest>& secrets);

}  // namespace cleanroom::credentials
