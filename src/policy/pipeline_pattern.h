#pragma once
// Patterns of pipelines in operator files: `acme/web`, `acme/*`, `acme/deploy-*`; `*` is any text within a part.
#include <string_view>

namespace cleanroom::policy {

inline constexpr std::string_view kPipelinePatternRule =
    "expected organisation/pipeline, where * is any text within a part";
bool is_pipeline_pattern(std::string_view text);

// `slug` is organisation/pipeline. A slug without one of the parts matches nothing, and so does that of a local run
// (empty).
bool pipeline_matches(std::string_view pattern, std::string_view slug);

}  // namespace cleanroom::policy
