// The parts of the language whose enforcement is not built yet. A feature leaves this list in the change that enforces
// it.
#include "src/policy/compiled_policy.h"
#include "src/policy/image_signatures.h"

#include <fmt/format.h>

namespace cleanroom::policy {

std::vector<UnenforcedFeature> features_not_enforced(const CompiledPolicy& policy) {
  using model::Reason;
  const PolicyValues& values = policy.values();
  std::vector<UnenforcedFeature> out;
  if (values.docker_required) {
    out.push_back({"sandbox.services.docker.required", Reason::backend_capability_mismatch,
                   "no backend of this build runs a Docker daemon in the VM"});
  }
  if (!values.image_keys.empty() && !kSignaturesEnforced) {
    out.push_back({"sandbox.image.verify", Reason::unsupported, "this build checks no signatures of images"});
  }
  for (const auto& [name, registry] : values.registries) {
    if (!registry.enable) continue;
    out.push_back(
        {fmt::format("registries.{}.enable", name), Reason::unsupported, "this build has no package gateway"});
  }
  if (values.registry_cache_offline) {
    out.push_back({"registries.cache.mode", Reason::unsupported, "this build has no package cache"});
  }
  for (const auto& secret : values.secrets) {
    if (secret.target == "git") continue;
    out.push_back({"secrets", Reason::unsupported,
                   fmt::format("'{}' is for target {}; this build sends credentials to git hosts only", secret.id,
                               secret.target)});
  }
  if (!values.buildkite_commands.empty()) {
    out.push_back({"buildkite.commands", Reason::unsupported, "this build relays no agent subcommands"});
  }
  return out;
}

}  // namespace cleanroom::policy
