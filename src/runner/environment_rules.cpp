#include "src/runner/environment_rules.h"

#include "src/base/os/ascii.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace cleanroom::runner {
namespace {

constexpr std::string_view kAgentOwned[] = {
    "*AGENT_ACCESS_TOKEN",
    "BUILDKITE_AGENT_TOKEN",
    "BUILDKITE_AGENT_JOB_API_*",
    "BUILDKITE_AGENT_JOB_TIMEOUT_FILE",
    "BUILDKITE_AGENT_JWKS_*",
    "BUILDKITE_AGENT_ENDPOINT",
    "BUILDKITE_AGENT_PID",
    "BUILDKITE_REQUEST_HEADER_*",
    "BUILDKITE_*_KMS_KEY",
    "BUILDKITE_*_JWKS_*",
    "BUILDKITE_GIT_SSH*",
    "BUILDKITE_GIT_REMOTE_MIRROR_URL",
    "BUILDKITE_S3_*",
    "BUILDKITE_GS_*",
    "BUILDKITE_ARTIFACTORY_*",
    "BUILDKITE_AZURE_*",
    "BUILDKITE_ENV_FILE",
    "BUILDKITE_ENV_JSON_FILE",
    "BUILDKITE_PLUGINS",
    "BUILDKITE_PLUGIN_*",
    "BUILDKITE_*_PATH",
    "BUILDKITE_REPO_MIRROR",
    "BUILDKITE_KUBERNETES_*",
    "CLEANROOM_*",
};

constexpr std::string_view kHostOwned[] = {
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "BASH_*",
    "SHELLOPTS",
    "BASHOPTS",
    "IFS",
    "LD_*",
    "DYLD_*",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "GETCONF_DIR",
    "HOSTALIASES",
    "MALLOC_*",
    "RES_*",
    "GLIBC_TUNABLES",
    "TMPDIR",
    "TMP",
    "TEMP",
    "XDG_*",
    "SUDO_*",
    "HOSTNAME",
    "MAIL",
    "DBUS_*",
    "*_PROXY",
    "SYSTEMD_*",
    "NOTIFY_*",
    "LISTEN_*",
    "INVOCATION_ID",
    "JOURNAL_*",
    "CREDENTIALS_DIRECTORY",
};

// The agent's own default list of redacted names is a subset of the suffixes here.
constexpr std::string_view kCredential[] = {
    "*TOKEN",
    "*TOKEN_*",
    "*PASSWORD*",
    "*PASSWD*",
    "*PASSPHRASE*",
    "*_PASS",
    "*SECRET*",
    "*PRIVATE_KEY*",
    "*_SSH_KEY",
    "*ACCESS_KEY*",
    "*API_KEY*",
    "*APIKEY*",
    "*SIGNING_KEY*",
    "*ENCRYPTION_KEY*",
    "*MASTER_KEY*",
    "*DEPLOY_KEY*",
    "*CONNECTION_STRING*",
    "*CREDENTIAL*",
    "*_AUTH",
    "*_AUTH_*",
    "*COOKIE*",
    "*_DSN",
    "*_JWT",
    "*_PAT",
    "*NETRC*",
    "DATABASE_URL",
    "*_DATABASE_URL",
    "REDIS_URL",
    "SSH_*",
    "GIT_SSH*",
    "GIT_ASKPASS",
    "GIT_CONFIG*",
    "GPG_*",
    "GNUPGHOME",
    "AWS_*",
    "GOOGLE_*",
    "GCLOUD_*",
    "CLOUDSDK_*",
    "AZURE_*",
    "ARM_*",
    "DOCKER_*",
    "KUBECONFIG",
    "KUBERNETES_*",
    "VAULT_*",
    "TWINE_*",
    "OTEL_*_HEADERS",
    "PIP_*INDEX_URL",
};

// Named like the above, and holding nothing secret.
constexpr std::string_view kHarmless[] = {"AWS_REGION", "AWS_DEFAULT_REGION", "DOCKER_BUILDKIT", "SSH_TTY"};

constexpr std::string_view kBuildFacts[] = {
    "CI",
    "TERM",
    "TRACEPARENT",
    "TRACESTATE",
    "BUILDKITE",
    "BUILDKITE_BRANCH",
    "BUILDKITE_TAG",
    "BUILDKITE_COMMIT",
    "BUILDKITE_MESSAGE",
    "BUILDKITE_BUILD_ID",
    "BUILDKITE_BUILD_NUMBER",
    "BUILDKITE_BUILD_URL",
    "BUILDKITE_BUILD_AUTHOR*",
    "BUILDKITE_BUILD_CREATOR*",
    "BUILDKITE_BUILD_CHECKOUT_PATH",
    "BUILDKITE_SOURCE",
    "BUILDKITE_JOB_ID",
    "BUILDKITE_LABEL",
    "BUILDKITE_STEP_ID",
    "BUILDKITE_STEP_KEY",
    "BUILDKITE_GROUP_*",
    "BUILDKITE_PARALLEL_JOB*",
    "BUILDKITE_RETRY_COUNT",
    "BUILDKITE_RETRY_TYPE",
    "BUILDKITE_TIMEOUT",
    "BUILDKITE_PIPELINE_*",
    "BUILDKITE_ORGANIZATION_*",
    "BUILDKITE_PULL_REQUEST*",
    "BUILDKITE_REPO",
    "BUILDKITE_REBUILT_*",
    "BUILDKITE_TRIGGERED_FROM_*",
    "BUILDKITE_MERGE_QUEUE_*",
    "BUILDKITE_AGENT_NAME",
    "BUILDKITE_AGENT_ID",
    "BUILDKITE_AGENT_META_DATA_*",
    "BUILDKITE_COMPUTE_TYPE",
    "BUILDKITE_CLUSTER_*",
};

char upper(char c) {
  return base::is_ascii_lower(c) ? static_cast<char>(c - 'a' + 'A') : c;
}

template <class Patterns>
bool any_matches(const Patterns& patterns, std::string_view name) {
  return std::any_of(std::begin(patterns), std::end(patterns),
                     [name](const auto& pattern) { return matches_pattern(pattern, name); });
}

}  // namespace

bool matches_pattern(std::string_view pattern, std::string_view text) {
  // Greedy with one point to come back to: linear in practice, and never worse than |pattern| * |text|.
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && upper(pattern[p]) == upper(text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*')
    ++p;
  return p == pattern.size();
}

VariableKind kind_of_variable(std::string_view name, const std::vector<std::string>& redacted) {
  if (matches_pattern("BUILDKITE_BUILD_CHECKOUT_PATH", name)) return VariableKind::build_fact;
  if (any_matches(kAgentOwned, name)) return VariableKind::agent_owned;
  if (any_matches(kHostOwned, name)) return VariableKind::host_owned;
  if (any_matches(redacted, name)) return VariableKind::credential;
  if (any_matches(kCredential, name) && !any_matches(kHarmless, name)) return VariableKind::credential;
  if (any_matches(kBuildFacts, name)) return VariableKind::build_fact;
  return VariableKind::ordinary;
}

std::vector<std::string> redacted_patterns(const Environment& host) {
  std::vector<std::string> patterns;
  const auto found = host.find("BUILDKITE_REDACTED_VARS");
  if (found == host.end()) return patterns;
  std::string_view rest = found->second;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    std::string_view one = rest.substr(0, comma);
    while (!one.empty() && one.front() == ' ')
      one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ')
      one.remove_suffix(1);
    if (!one.empty()) patterns.emplace_back(one);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  return patterns;
}

}  // namespace cleanroom::runner
