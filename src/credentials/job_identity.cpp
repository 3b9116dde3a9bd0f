#include "src/credentials/job_identity.h"

#include "src/base/os/ascii.h"
#include "src/credentials/path_pattern.h"
#include "src/model/host_name.h"

#include <algorithm>
#include <array>
#include <utility>

namespace cleanroom::credentials {
namespace {

std::string value_of(const Environment& environment, std::string_view name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "" : found->second;
}

bool is_slug(std::string_view text) {
  const auto good = [](char c) { return base::is_ascii_alnum(c) || c == '-' || c == '_' || c == '.'; };
  return !text.empty() && std::all_of(text.begin(), text.end(), good);
}

// Any trace of the agent counts: a job must not pass for a local run by hiding one variable.
bool under_buildkite(const Environment& environment) {
  constexpr std::array kTraces = {"BUILDKITE", "BUILDKITE_JOB_ID", "BUILDKITE_BUILD_ID",
                                  "BUILDKITE_AGENT_ACCESS_TOKEN"};
  return std::any_of(kTraces.begin(), kTraces.end(),
                     [&](const char* name) { return !value_of(environment, name).empty(); });
}

bool is_fork(const Environment& environment) {
  // Where the pipeline says so, Buildkite writes branches of other repositories as user:branch. Git allows no colon.
  if (value_of(environment, "BUILDKITE_BRANCH").find(':') != std::string::npos) return true;
  const auto number = value_of(environment, "BUILDKITE_PULL_REQUEST");
  const auto theirs = value_of(environment, "BUILDKITE_PULL_REQUEST_REPO");
  if (number == "false" && theirs.empty()) return false;
  const auto head = canonical_repository(theirs);
  return !head || head != canonical_repository(value_of(environment, "BUILDKITE_REPO"));
}

struct UrlScheme {
  std::string_view prefix;
  std::string_view default_port;
};
constexpr std::array kSchemes = {UrlScheme{"https://", "443"}, UrlScheme{"http://", "80"}, UrlScheme{"ssh://", "22"},
                                 UrlScheme{"git://", "9418"}};

struct Location {
  std::string_view authority;
  std::string_view path;
  std::string_view default_port;
};

std::optional<Location> locate(std::string_view url) {
  for (const auto& scheme : kSchemes) {
    if (!url.starts_with(scheme.prefix)) continue;
    url.remove_prefix(scheme.prefix.size());
    const auto slash = url.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    return Location{url.substr(0, slash), url.substr(slash), scheme.default_port};
  }
  if (url.find("://") != std::string_view::npos) return std::nullopt;
  // user@host:path, as scp(1): the colon comes before any slash.
  const auto colon = url.find(':');
  if (colon == std::string_view::npos || url.substr(0, colon).find('/') != std::string_view::npos) return std::nullopt;
  return Location{url.substr(0, colon), url.substr(colon + 1), ""};
}

}  // namespace

std::optional<std::string> canonical_repository(std::string_view url) {
  const auto location = locate(url);
  if (!location) return std::nullopt;
  auto host = location->authority;
  if (const auto at = host.rfind('@'); at != std::string_view::npos) host.remove_prefix(at + 1);
  std::string_view port;
  if (const auto colon = host.find(':'); colon != std::string_view::npos) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  const auto name = model::HostName::parse_wire(host);
  auto path = location->path;
  while (path.starts_with('/'))
    path.remove_prefix(1);
  while (path.ends_with('/'))
    path.remove_suffix(1);
  path = without_dot_git(path);
  if (!name || !is_plain_path(path)) return std::nullopt;
  const bool usual = port.empty() || port == location->default_port;
  return name->text() + (usual ? "" : ":" + std::string(port)) + "/" + std::string(path);
}

JobIdentity job_identity(const Environment& environment) {
  if (!under_buildkite(environment)) return {};
  JobIdentity job;
  const auto organisation = value_of(environment, "BUILDKITE_ORGANIZATION_SLUG");
  const auto pipeline = value_of(environment, "BUILDKITE_PIPELINE_SLUG");
  job.pipeline = is_slug(organisation) && is_slug(pipeline) ? organisation + "/" + pipeline : "unknown";
  // A tag called `main` is not the branch `main`, but Buildkite puts its name into BUILDKITE_BRANCH.
  if (value_of(environment, "BUILDKITE_TAG").empty()) job.branch = value_of(environment, "BUILDKITE_BRANCH");
  job.fork = is_fork(environment);
  return job;
}

}  // namespace cleanroom::credentials
