#pragma once
// From a file or a checkout to a CompiledPolicy. Reads files and nothing else: no network, no program, no ${ENV}.
#include "src/base/os/result.h"
#include "src/base/text/diagnostic.h"
#include "src/policy/compiled_policy.h"

#include <filesystem>
#include <string_view>

namespace cleanroom::policy {

inline constexpr std::size_t kMaxPolicyBytes = 256 * 1024;

struct LoadedPolicy {
  std::filesystem::path file;
  CompiledPolicy policy;
  base::Diagnostics diagnostics;  // warnings only
};

// A policy with errors is refused as a whole: Error{invalid_input, policy_invalid}, whose message has one line for each
// error
// (`file:line:column: key.path: message`). Pass `diagnostics` to get them as a list too, warnings included.
// policy_missing (code not_found -> invalid_input: exit 78) when there is no file.
base::Result<LoadedPolicy> load_policy_file(const std::filesystem::path& file,
                                            base::Diagnostics* diagnostics = nullptr);

// cleanroom.yaml, then .buildkite/cleanroom.yaml below `checkout`; both there: the root one counts, with a warning. The
// checkout is hostile: symlinks, FIFOs and devices under these names are refused.
base::Result<LoadedPolicy> load_policy_from_checkout(const std::filesystem::path& checkout,
                                                     base::Diagnostics* diagnostics = nullptr);

// The same from text in memory; `name` stands for the file in messages.
base::Result<LoadedPolicy> load_policy_text(std::string_view text, std::string_view name,
                                            base::Diagnostics* diagnostics = nullptr);

}  // namespace cleanroom::policy
