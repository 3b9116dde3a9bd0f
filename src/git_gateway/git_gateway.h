#pragma once
// GitGateway: smart HTTP for the guest's git, in process. The guest asks it for `/git/HOST/REPO/...`; it judges the
// repository, adds the operator's credential for exactly that origin and path, asks HOST over TLS, and streams the
// answer back. Redirects are followed here, each hop judged again; the guest never sees one, nor a credential, nor an
// upstream's own words about either.
#include "src/credentials/broker.h"
#include "src/egress/audit_log.h"
#include "src/egress/egress_server.h"
#include "src/gateway/upstream.h"
#include "src/git_gateway/git_rules.h"

#include <filesystem>
#include <memory>
#include <optional>

namespace cleanroom::git_gateway {

struct GatewayState;  // gateway_state.h

// One refusal, for the job log. Printable ASCII.
struct GitDenial {
  std::string host;        // both canonical; empty when the request named none
  std::string repository;  // "acme/web"
  model::Reason reason = model::Reason::git_repository_not_allowed;
  std::string detail;
  bool is_first = true;  // of this repository and reason
};
using GitDenialSink = std::function<void(const GitDenial&)>;

// Copies of repositories on this host, which answer fetches that upstream has authorised.
struct MirrorOptions {
  std::filesystem::path directory;  // made when it is not there; this user's alone
  std::uint64_t max_bytes = 0;      // of all of them
};

struct GitGatewayParts {
  GitRules rules;
  gateway::UpstreamContext upstream;
  credentials::Broker& broker;
  egress::AuditLog& audit;
  GitDenialSink on_denial;  // may be empty; must not block
  std::optional<MirrorOptions> mirrors;
  base::BlockingPool* pool = nullptr;  // for mirrors, and needed with them; outlives the GitGateway
};

class GitGateway {
 public:
  // The references must outlive the handlers. Its end cancels what the mirrors do in the background.
  explicit GitGateway(GitGatewayParts parts);
  ~GitGateway();
  GitGateway(const GitGateway&) = delete;
  GitGateway& operator=(const GitGateway&) = delete;

  // For EgressOptions::gateway.
  egress::GatewayHandler handler();

 private:
  std::shared_ptr<GatewayState> state_;
};

}  // namespace cleanroom::git_gateway
