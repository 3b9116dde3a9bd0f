#pragma once
// What the requests to one GitGateway share, and the request in hand. Internal to src/git_gateway.
#include "src/base/os/clock.h"
#include "src/base/os/secret.h"
#include "src/gateway/http_exchange.h"
#include "src/git_gateway/git_gateway.h"
#include "src/git_gateway/git_request.h"

#include <map>
#include <set>

namespace cleanroom::git_gateway {

// Where a repository is, after upstream's redirects: "/acme/web.git" at an origin.
using Place = gateway::Location;

struct LfsObject {
  gateway::Location location;
  std::vector<std::pair<std::string, base::Secret>> fields;  // that upstream wants to see again, at this origin only
  std::uint64_t size = 0;
};

class Mirrors;  // mirror.h

struct GatewayState {
  explicit GatewayState(GitGatewayParts p);
  ~GatewayState();
  GatewayState(const GatewayState&) = delete;
  GatewayState& operator=(const GatewayState&) = delete;
  GitGatewayParts parts;
  std::map<std::string, Place> moves;                               // by "host/repository" and spelling
  std::map<std::string, std::shared_ptr<const LfsObject>> objects;  // by "host/repository oid"
  std::set<std::pair<std::string, model::Reason>> denied;
  egress::Pacer requests{egress::kRequestsPerSecond, egress::kRequestsBurst};
  std::size_t lfs_bytes = 0;         // held in `objects`
  std::size_t lfs_batches = 0;       // in hand
  std::unique_ptr<Mirrors> mirrors;  // null: off
  bool closed = false;               // the GitGateway is gone, and what `parts` refers to may be
};
using StatePtr = std::shared_ptr<GatewayState>;

// One tunnel: it keeps a connection to upstream from one request to the next, for itself alone.
struct Tunnel {
  StatePtr state;
  std::unique_ptr<gateway::UpstreamConnection> upstream;
  base::Deadline last_used{};
};

// One request, with what its audit line says.
struct GitExchange {
  Tunnel& tunnel;
  gateway::HttpExchange& http;
  GitRequest git;
  GitVerdict verdict;
  credentials::Lookup lookup;  // for the place asked last
  std::string address;
  std::string note;                                  // detail of the audit line
  std::string body_start;                            // of a push: it names the refs
  std::string cache;                                 // of the audit line
  model::Reason outcome = model::Reason::cancelled;  // until it is known
  std::string outcome_detail;
  base::Deadline started = base::SteadyClock::now();

  GatewayState& state() const { return *tunnel.state; }
  // "github.com/acme/web"
  std::string name() const { return git.host.text() + "/" + git.repository; }
};

// The credential for a place, if the operator bound one. Errors: credential_unavailable, timeout.
base::Awaitable<base::Result<void>> authorise(GitExchange& exchange, const gateway::Origin& origin,
                                              std::string repository);

// Sends a request whose body is `body`, or the guest's own when `body` is null, and reads the head of the answer.
struct Ask {
  gateway::Location location;
  gateway::UpstreamRequest request;  // without target and credential
  const std::string* body = nullptr;
  std::uint64_t guest_body_limit = 0;  // 0: the request has no body of the guest's
};
base::Awaitable<base::Result<gateway::MessageHead>> ask(GitExchange& exchange, Ask ask);

// What git and upstream may say to each other, from what the guest sent.
std::vector<gateway::Field> upstream_fields(const gateway::MessageHead& guest, std::string_view accept);

// What an answer other than 200 means, as an error with a reason.
base::Error refused_by_upstream(const GitExchange& exchange, unsigned status);

base::Awaitable<base::Result<void>> serve_advertisement(GitExchange& exchange);
base::Awaitable<base::Result<void>> serve_pack(GitExchange& exchange);
base::Awaitable<base::Result<void>> serve_lfs_batch(GitExchange& exchange);
base::Awaitable<base::Result<void>> serve_lfs_object(GitExchange& exchange);

// Where upstream serves the repository: as asked, or where a redirect has led before.
Place place_of(const GitExchange& exchange);
std::string repository_at(const Place& place);  // "acme/web"
void remember_place(GitExchange& exchange, Place place);

}  // namespace cleanroom::git_gateway
