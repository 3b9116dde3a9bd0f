#pragma once
// Login: what a registry is shown to prove who asks. Where one comes from: the operator's bindings, Docker's files.
#include "src/base/os/result.h"
#include "src/base/os/secret.h"

#include <optional>
#include <string>

namespace cleanroom::registry {

struct Login {
  std::string from;            // for people: "binding 'hub'", "docker config"; nothing secret
  base::Secret basic;          // "user:password", for the registry's Basic challenge and for its token service
  base::Secret bearer;         // a token for the registry itself, sent as it is
  base::Secret refresh_token;  // an OAuth2 refresh token for the token service (Docker's identitytoken)
};

// Asked once an upstream wants to know; never before.
class LoginSource {
 public:
  virtual ~LoginSource() = default;
  // nullopt: none, go on anonymously. `registry` is host[:port] as references name it, `repository` without it.
  // credential_unavailable: there should be one, and it could not be had. May block for as long as its source may take.
  virtual base::Result<std::optional<Login>> find(const std::string& registry, const std::string& repository) = 0;

  // Where find() has none: why there is one all the same that this job or repository may not have. For people, once the
  // registry has refused; nothing secret in it. Empty: there is none. Does not block.
  virtual std::string withheld(const std::string& /*registry*/, const std::string& /*repository*/) const { return {}; }
};

}  // namespace cleanroom::registry
