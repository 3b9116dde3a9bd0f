#pragma once
// Which of git's routes a gateway request is for. Smart HTTP (gitprotocol-http) and LFS downloads (git-lfs api/batch)
// are all there is; dumb HTTP, locks, uploads and whatever else a git host serves do not exist here.
//
//   GET  /git/HOST/REPO/info/refs?service=git-upload-pack      (git-receive-pack: a push begins)
//   POST /git/HOST/REPO/git-upload-pack                        (git-receive-pack)
//   POST /git/HOST/REPO/info/lfs/objects/batch
//   GET  /git/HOST/REPO/info/lfs/objects/OID
#include "src/gateway/request_path.h"
#include "src/model/host_name.h"

namespace cleanroom::git_gateway {

inline constexpr std::string_view kDotGit = ".git";  // what a repository's path may end with
inline constexpr std::string_view kUploadPack = "git-upload-pack";

enum class GitRoute { advertisement, pack, lfs_batch, lfs_object };

struct GitRequest {
  GitRoute route = GitRoute::advertisement;
  bool push = false;  // git-receive-pack
  model::HostName host;
  std::string repository;               // "acme/web": as sent, without ".git"; case counts
  bool dot_git = false;                 // as sent, so that upstream sees the spelling the job used
  std::string oid;                      // lfs_object
  std::string repository_path() const;  // "/acme/web.git"
};

// `path` begins with the segment "git". Reasons: gateway_route_unknown, gateway_request_invalid, invalid_host.
base::Result<GitRequest> parse_git_request(std::string_view method, const gateway::RequestPath& path);

// 64 lower-case hexadecimal digits, as LFS names objects.
bool is_lfs_oid(std::string_view text);

}  // namespace cleanroom::git_gateway
