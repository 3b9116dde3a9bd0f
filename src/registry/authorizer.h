#pragma once
// Authorizer: what requests to one repository at one endpoint carry to prove who asks. Nothing until the registry wants
// to see something; then what its challenge names: Basic, or a token of the token service (distribution's token
// authentication, and its OAuth2 variant for refresh tokens). Shared by the threads of a pull.
//
// A registry may name any token service and any scope. Logins go only where check_token_realm() lets them, and the
// scope asked for is always pulling this repository.
#include "src/base/net/http_client.h"
#include "src/registry/endpoint.h"
#include "src/registry/login.h"

#include <mutex>
#include <optional>
#include <string>

namespace cleanroom::registry {

class Authorizer {
 public:
  // `logins` is borrowed and may be null: anonymous.
  Authorizer(Endpoint endpoint, std::string repository, LoginSource* logins)
      : endpoint_(std::move(endpoint)), repository_(std::move(repository)), logins_(logins) {}

  struct Header {
    base::Secret value;  // of Authorization; may be empty
    unsigned generation = 0;
  };
  Header header() const;

  // The registry answered 401 to a request with the header of `generation`. True: there is another one now. False:
  // nothing better is to be had. Blocks on the login's source and the token service. Fails as these do, and with
  // image_access_denied where a login may not go to the token service named.
  base::Result<bool> answer(const base::HttpResponse& refused, unsigned generation, base::HttpClient& client,
                            const std::stop_token& stop);
  // A request with the header of `generation` was let in.
  void accepted(unsigned generation);
  // Why the registry refuses, as far as this side knows; may be empty.
  std::string explanation() const;

 private:
  using Secret = base::Secret;
  base::Result<void> find_login();
  base::Result<Secret> fetch_token(const std::string& realm, const std::string& service, base::HttpClient& client,
                                   const std::stop_token& stop);
  void use(Secret header);

  const Endpoint endpoint_;
  const std::string repository_;
  LoginSource* const logins_;
  mutable std::mutex mutex_;
  bool asked_ = false;
  std::optional<Login> login_;
  Secret header_;
  unsigned generation_ = 0;
  bool renewed_once_ = false;
  std::optional<base::SteadyClock::time_point> expires_;
};

}  // namespace cleanroom::registry
