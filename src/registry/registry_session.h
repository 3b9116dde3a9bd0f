#pragma once
// RegistrySession: requests for one repository at one endpoint, with what HTTP to registries needs: logins when asked
// for, redirects judged, failures retried. Shared by the threads of a pull; each brings its own HttpClient.
//
// Redirects are followed by hand, five at most: the login stays with its origin (CVE-2020-15157), plain HTTP is
// followed only for an insecure registry, and an address that is not public only from a registry that is not at a
// public one itself; link-local addresses and metadata services never.
#include "src/base/net/http_client.h"
#include "src/registry/authorizer.h"

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::registry {

inline constexpr int kMaxAttempts = 5;  // of one thing, without a byte of progress in between

class RegistrySession {
 public:
  RegistrySession(Endpoint endpoint, std::string repository, LoginSource* logins, std::stop_token stop);

  const Endpoint& endpoint() const { return endpoint_; }
  const std::string& repository() const { return repository_; }
  const std::stop_token& stop() const { return stop_; }

  struct Request {
    std::string path;                  // below /v2/<repository>/
    std::vector<std::string> headers;  // nothing secret
    std::chrono::milliseconds time_limit{120'000};
    std::size_t max_body = 4u << 20;
    std::stop_token stop = {};  // besides the session's
  };
  // One try, with the logins and redirects it takes. Statuses that no later try changes are errors: image_not_found,
  // image_access_denied, image_pull_failed. 2xx, 416 and what is worth another try are responses.
  base::Result<base::HttpResponse> get(base::HttpClient& client, const Request& request, base::HttpSink* sink);
  // The same until it succeeds, kMaxAttempts times.
  base::Result<base::HttpResponse> get_retrying(base::HttpClient& client, const Request& request);

  // Whether a failure or status is worth another try, and the pause before try number `attempt` (from 1), which heeds
  // Retry-After. False: `stop` came, or there have been enough.
  static bool is_passing(const base::Error& error);
  static bool is_passing(int status);
  bool pause(int attempt, const base::HttpResponse* response, const std::stop_token& stop) const;

 private:
  base::Result<base::HttpResponse> follow(base::HttpClient& client, const Request& request, base::HttpSink* sink,
                                          const Authorizer::Header& header);
  base::Result<std::string> next_hop(const std::string& from, const base::HttpResponse& response) const;
  base::Failure refused(const base::HttpResponse& response, const std::string& what) const;

  const Endpoint endpoint_;
  const std::string repository_;
  const std::stop_token stop_;
  Authorizer authorizer_;
  std::atomic<bool> at_public_address_{true};
};

// `reference` of a Location against the URL it was answered to (RFC 3986 section 5): absolute, or absolute paths.
// Empty for anything else.
std::string resolve_location(std::string_view base, std::string_view reference);

}  // namespace cleanroom::registry
