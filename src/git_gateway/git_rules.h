#pragma once
// GitRules: which repositories the gateway serves. A host of `git.allow` is served within its entry's repositories; any
// other host that `network.allow` opens on port 443 is served for reading, all of it: a job could read it directly.
#include "src/model/host_name.h"
#include "src/model/reason.h"
#include "src/policy/compiled_policy.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace cleanroom::git_gateway {

// The repository that the pipeline is about: what an entry without `repositories` means.
struct OwnRepository {
  model::HostName host;
  std::string path;  // "acme/web", without ".git"
};

// Hosts that only network.allow names keep their http(s) URLs, which work as they are and may push with what the job
// has itself; ssh and git:// reach nothing else. With a credential for reading, all of them lead to the gateway.
struct RewrittenHost {
  std::string name;
  bool http = false;
};

enum class GitOperation { read, push, lfs };

struct GitVerdict {
  bool allowed = false;
  model::Reason reason = model::Reason::git_repository_not_allowed;
  std::string rule;    // "git.allow: github.com", or the key path of a network rule
  std::string detail;  // for people
};

class GitRules {
 public:
  GitRules(std::vector<policy::GitRule> git, policy::NetworkRules network, std::optional<OwnRepository> own);

  GitVerdict judge(const model::HostName& host, std::string_view repository, GitOperation operation) const;
  // Whether `network.allow` opens it: what a job may reach without the gateway.
  bool opens(const model::HostName& host, std::uint16_t port) const { return network_.judge(host, port).allowed; }
  // What the gateway may connect to: the hosts above on port 443, within the policy's deny rules; private ranges only
  // as the operator's ceiling (`operator_cidrs`) and the policy give them.
  policy::NetworkRules upstream_rules(const std::vector<std::string>& operator_cidrs) const;
  // Names whose URLs git in the guest rewrites to the gateway; sorted. `bound` are hosts that credentials may be for.
  std::vector<RewrittenHost> rewritten_hosts(const std::set<std::string>& bound) const;

 private:
  std::vector<policy::GitRule> git_;
  policy::NetworkRules network_;
  std::optional<OwnRepository> own_;
};

// "acme/web" against "acme/web" or "acme/*": `*` is one segment.
bool repository_matches(std::string_view pattern, std::string_view repository);

}  // namespace cleanroom::git_gateway
