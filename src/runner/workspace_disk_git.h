#pragma once
// What of a Git directory goes into a guest. Pure functions over names and text: no Git library, no I/O.
//
// The text was written by Git, by the agent, and perhaps by a job that ran in this checkout before. The guest gets what
// describes the repository (so that `git describe`, `git log` and `git status` work) and nothing that authenticates:
// everything is an allow-list.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::runner {

// What becomes of a name directly in a Git directory.
enum class GitEntry {
  copy,
  copy_config,        // through rewrite_git_config
  copy_without_urls,  // through strip_url_credentials, all files below when it is a directory (reflogs, FETCH_HEAD)
  modules,            // holds the Git directories of submodules
  objects,
  leave_out,  // never needed (hooks, other worktrees)
  unknown,    // left out with a warning
};
GitEntry classify_git_entry(std::string_view name);

// A larger configuration is not read.
inline constexpr std::size_t kMaxGitConfigBytes = 1u << 20;

// The settings that describe a repository, written anew; comments, includes, credentials, HTTP headers, URL rewriting,
// commands, hooks and filters are gone. nullopt when the text is not a Git configuration.
std::optional<std::string> rewrite_git_config(std::string_view text);

// User information in every `scheme://user:password@host` within `text` removed; the user name of an ssh URL stays.
// With http(s) a query goes too.
std::string strip_url_credentials(std::string_view text);

// The URL of remote `origin` in a Git configuration; includes and rewriting do not count. nullopt: none, or not a Git
// configuration.
std::optional<std::string> origin_url(std::string_view text);

// The target of a gitfile ("gitdir: <path>") when it is relative, as in a submodule.
bool is_relative_gitfile(std::string_view text);

}  // namespace cleanroom::runner
