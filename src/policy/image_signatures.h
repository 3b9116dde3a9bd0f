#pragma once
// Which signatures an image must carry before a job may run in it: sandbox.image.verify of the policy, images.verify of
// the ceiling. How they are found and checked: src/registry/cosign.h.
#include "src/base/net/public_key.h"
#include "src/model/image_reference.h"
#include "src/policy/ceiling.h"

#include <string>
#include <vector>

namespace cleanroom::policy {

inline constexpr std::size_t kMaxImageKeys = 8;  // of one demand
// Whether a launch checks them. As long as not, a policy or ceiling that asks for one is refused.
inline constexpr bool kSignaturesEnforced = true;

struct SignatureDemand {
  std::string key_path;  // who demands it, for people: "sandbox.image.verify", "images.verify (registry.test/acme)"
  std::vector<base::PublicKey> keys;  // one of these suffices; never empty
};

// Every one must be met. `policy_keys` (PolicyValues::image_keys) bind whatever image the job runs in, one that its
// caller names too.
std::vector<SignatureDemand> image_signature_demands(const std::vector<base::PublicKey>& policy_keys,
                                                     const CeilingLimits& limits, const model::ImageReference& image);

}  // namespace cleanroom::policy
