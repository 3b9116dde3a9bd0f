#pragma once
// The workspace disk (vdc): an ext4 image made from a checkout on the host. The guest gets a copy; the host's directory
// is only read, and nothing in it is ever run, followed or trusted:
//   - directories are opened one component at a time, O_NOFOLLOW; symlinks are copied as links; names are taken as
//   bytes
//   - FIFOs, sockets, devices and unreadable files are left out with a warning; setuid, setgid and sticky bits and
//     xattrs are not kept; every entry belongs to one uid:gid; hard links and holes stay
//   - no program runs and no Git library touches the checkout. `.git` directories, and those of submodules below
//     `.git/modules`, are files like any other, but only what Git needs to read the repository comes along
//     (workspace_disk_git.h): no hooks; `config` rewritten from an allow-list; no credentials in URLs, reflogs and
//     FETCH_HEAD. A `.git` file stays when it is relative (a submodule's), else, like a `.git` link, it is left out
//   - objects/info/alternates is left out, unless it names the operator's mirror: then the mirror's objects come along
//     as .git/cleanroom-mirror and an alternates file of ours names them
// Deterministic: entries in byte order of their names. Blocks on disk I/O for as long as the tree takes: call it in a
// pool.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

namespace cleanroom::runner {

enum class GitDirectory {
  include,
  exclude,  // every `.git` at any depth is left out
};

struct WorkspaceLimits {
  std::size_t entries = 2'000'000;
  std::size_t depth = 256;          // components of a path
  std::size_t path_bytes = 4096;    // of a path relative to the checkout
  std::uint64_t content_bytes = 0;  // of all files together; 0 = what the disk holds
};

struct WorkspaceOptions {
  std::filesystem::path checkout;
  std::uint64_t size_mib = 0;  // logical size of the disk; it is sparse, so free space costs nothing
  std::uint32_t uid = 0;       // owner of everything in the guest
  std::uint32_t gid = 0;
  GitDirectory git = GitDirectory::include;
  std::filesystem::path repo_mirror;  // BUILDKITE_REPO_MIRROR as the agent set it, never from the repository; may be ""
  std::string executable;  // this file (path relative to the checkout) gets its x bits: the step's script; may be ""
  WorkspaceLimits limits;
  std::stop_token stop;  // asked between entries: `cancelled`
};

struct WorkspaceReport {
  std::uint64_t entries = 0;              // names on the disk
  std::uint64_t bytes = 0;                // content of its files, holes and second names not counted
  std::vector<std::string> warnings;      // one line each, escaped for display; at most kMaxWorkspaceWarnings
  std::uint64_t warnings_not_listed = 0;  // beyond that
};

inline constexpr std::size_t kMaxWorkspaceWarnings = 50;

// `file` is an open, empty regular file (O_RDWR) of the caller, who removes it on failure. Nothing is synced.
// Errors carry reason `workspace_failed`: not_found (no such checkout), invalid_input (a limit, the disk is too small),
// cancelled, failed_precondition (not a directory).
base::Result<WorkspaceReport> build_workspace_disk(const base::Fd& file, const WorkspaceOptions& options);

// An empty ext4 of `size_mib` for vdb, the guest's writable layer. Milliseconds; sparse.
base::Result<void> create_scratch_disk(const base::Fd& file, std::uint64_t size_mib);

}  // namespace cleanroom::runner
