#pragma once
// LoginChain: several places that may have a login, the first that knows one counts.
#include "src/registry/login.h"

#include <memory>
#include <vector>

namespace cleanroom::registry {

class LoginChain : public LoginSource {
 public:
  explicit LoginChain(std::vector<std::unique_ptr<LoginSource>> sources) : sources_(std::move(sources)) {}

  // A source that fails, or that withholds a login, ends the search: what comes later must not widen what it said.
  base::Result<std::optional<Login>> find(const std::string& registry, const std::string& repository) override;
  std::string withheld(const std::string& registry, const std::string& repository) const override;

 private:
  std::vector<std::unique_ptr<LoginSource>> sources_;
};

}  // namespace cleanroom::registry
