#pragma once
// compile_policy(): judges what a PolicyFile says and freezes it.
#include "src/base/text/schema.h"
#include "src/policy/compiled_policy.h"
#include "src/policy/policy_file.h"

#include <optional>

namespace cleanroom::policy {

// `document` gives the places for complaints. nullopt when `diagnostics` has errors, from before or from here.
std::optional<CompiledPolicy> compile_policy(const PolicyFile& file, const base::CheckedDocument& document,
                                             base::Diagnostics& diagnostics);

}  // namespace cleanroom::policy
