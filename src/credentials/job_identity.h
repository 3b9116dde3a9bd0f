#pragma once
// Whose job this is, for the scopes of bindings: from the variables that the Buildkite agent sets, never from the
// guest.
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::credentials {

using Environment = std::map<std::string, std::string, std::less<>>;

struct JobIdentity {
  // "organisation/pipeline"; empty for a run outside Buildkite. A job of Buildkite without a usable slug is "unknown",
  // which no pattern matches.
  std::string pipeline;
  std::string branch;  // empty: none (a local run, a build of a tag)
  // The build is of a pull request from another repository, or that cannot be ruled out.
  bool fork = false;
};

// Fails closed: under Buildkite, what is missing or unclear makes a fork.
JobIdentity job_identity(const Environment& environment);

// One spelling for a repository's URL, to tell whether two URLs are the same repository: https://, ssh://, git:// and
// user@host:path become `host/path`, with the host lower-case, without user, default port and `.git`. nullopt when the
// text is none of these.
std::optional<std::string> canonical_repository(std::string_view url);

}  // namespace cleanroom::credentials
