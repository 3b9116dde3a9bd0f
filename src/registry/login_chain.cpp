#include "src/registry/login_chain.h"

namespace cleanroom::registry {

base::Result<std::optional<Login>> LoginChain::find(const std::string& registry, const std::string& repository) {
  for (const auto& source : sources_) {
    auto found = source->find(registry, repository);
    if (!found || *found) return found;
    if (!source->withheld(registry, repository).empty()) break;
  }
  return std::optional<Login>();
}

std::string LoginChain::withheld(const std::string& registry, const std::string& repository) const {
  for (const auto& source : sources_) {
    if (auto why = source->withheld(registry, repository); !why.empty()) return why;
  }
  return {};
}

}  // namespace cleanroom::registry
