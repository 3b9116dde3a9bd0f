#pragma once
// BindingLogins: what the operator's credentials.yaml gives for pulls from a registry (method registry-pull), by the
// same rules as the git gateway: host, port, repository, pipeline, branch, fork.
#include "src/credentials/scope.h"
#include "src/credentials/sources.h"
#include "src/registry/login.h"

#include <optional>

namespace cleanroom::registry {

class BindingLogins : public LoginSource {
 public:
  BindingLogins(credentials::Bindings bindings, credentials::JobIdentity job, credentials::HostEnvironment host);

  // Asks the binding's source each time. credential_unavailable names the binding, never the value.
  base::Result<std::optional<Login>> find(const std::string& registry, const std::string& repository) override;
  // Names bindings and what of them did not match: "binding 'hub' is not for builds of forks".
  std::string withheld(const std::string& registry, const std::string& repository) const override;

 private:
  credentials::Choice choose(const std::string& registry, const std::string& repository) const;

  credentials::Bindings bindings_;
  credentials::JobIdentity job_;
  credentials::Sources sources_;
};

}  // namespace cleanroom::registry
