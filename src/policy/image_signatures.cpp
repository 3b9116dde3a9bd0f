#include "src/policy/image_signatures.h"

#include <fmt/format.h>

namespace cleanroom::policy {

std::vector<SignatureDemand> image_signature_demands(const std::vector<base::PublicKey>& policy_keys,
                                                     const CeilingLimits& limits, const model::ImageReference& image) {
  std::vector<SignatureDemand> out;
  if (!policy_keys.empty()) out.push_back({"sandbox.image.verify", policy_keys});
  for (const auto& signers : limits.image_signers) {
    if (!image_is_within(image, signers.registry)) continue;
    out.push_back({fmt::format("images.verify ({})", signers.registry), signers.keys});
  }
  return out;
}

}  // namespace cleanroom::policy
