#pragma once
// Fetching what cosign.h checks.
#include "src/registry/manifests.h"
#include "src/registry/trust_record.h"

#include <vector>

namespace cleanroom::registry {

// Whether every demand is met for `image` (named as the policy has it, pinned to `resolved.named`): by what the store
// knows, else by signatures of the repository, over the digest named or over this platform's manifest. What is found is
// kept in `record`. image_not_trusted; and as fetch_document(). No layer is fetched.
base::Result<void> require_signatures(RegistrySession& session, base::HttpClient& client,
                                      const model::ImageReference& image, const Resolved& resolved,
                                      const std::vector<policy::SignatureDemand>& demands, const TrustRecord& record,
                                      const image::Limits& limits);

}  // namespace cleanroom::registry
