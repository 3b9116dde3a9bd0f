#pragma once
// HttpClient: blocking HTTP requests that this host makes for itself (registries, the sockets of local engines), by
// libcurl. Never for a guest: what guests ask for goes through src/gateway, which judges each address and header.
//
// HTTP/1.1, no redirects followed, no cookies, no content codings. The host's proxy variables count (http_proxy for
// http, HTTPS_PROXY, NO_PROXY), and its certificate authorities. One request at a time; connections are kept open
// between requests, so a client belongs to one thread.
#include "src/base/os/clock.h"
#include "src/base/os/result.h"
#include "src/base/os/secret.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

struct sockaddr;

namespace cleanroom::base {

struct HttpRequest {
  std::string method = "GET";                    // GET, HEAD or POST
  std::string url;                               // http:// or https://
  std::vector<std::string> headers;              // "Name: value"; nothing secret
  Secret authorization;                          // value of the header Authorization; empty: none
  Secret body;                                   // of a POST, a form
  std::filesystem::path unix_socket;             // connect there instead
  std::optional<std::filesystem::path> ca_file;  // PEM, besides this host's authorities
  std::chrono::milliseconds connect_timeout{15'000};
  std::chrono::milliseconds stall_timeout{30'000};  // without a byte in either direction; 64 KiB a minute at least
  Deadline deadline;                                // of all of it
  std::stop_token stop;
  std::size_t max_body = 4u << 20;  // without a sink
  // Asked for each address before it is connected to, a proxy's too; false refuses it. Empty: any.
  std::function<bool(const sockaddr&)> allow_address;
  // Where the host has a proxy for this scheme the request goes through it, whatever NO_PROXY says, and the proxy
  // judges addresses in place of allow_address.
  bool proxy_judges = false;
};

struct HttpResponse {
  int status = 0;
  std::multimap<std::string, std::string, std::less<>> headers;  // names in lower case; at most 64 KiB together
  std::string body;                                              // without a sink
  std::string peer;  // the server's address as text; empty where a proxy may have been in between
  // The first value, or empty.
  std::string_view header(std::string_view name) const;
};

// Where a body goes while it arrives. A failure ends the request, and is what perform() returns.
class HttpSink {
 public:
  virtual ~HttpSink() = default;
  // Once, before the first byte; what it does not want it refuses.
  virtual Result<void> head(const HttpResponse& response) = 0;
  // May block; the time it takes counts as no stall.
  virtual Result<void> body(std::span<const std::byte> bytes) = 0;
};

class HttpClient {
 public:
  HttpClient();
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();

  // Any status is a response. Fails with `unavailable` (no name, no connection, reset, truncated), `timeout`,
  // `cancelled`, `policy_denied` (allow_address), `failed_precondition` (a certificate that is not trusted),
  // `invalid_input` (URL, or a body above max_body), and with what the sink fails. Texts name the host, never a query
  // or a header.
  Result<HttpResponse> perform(const HttpRequest& request, HttpSink* sink = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// scheme://host[:port] of a URL, for people and comparisons; empty when there is none.
std::string url_origin(std::string_view url);

}  // namespace cleanroom::base
