#pragma once
// YAML as people write pipelines: anchors, aliases and merge keys are resolved, tags are passed over. Everything else
// is as strict as yaml.h, whose tree it returns: one document, no doubled key, keys are text, the limits below. An
// alias counts as many nodes as it stands for, so a chain of aliases is stopped by max_nodes. Merge keys follow
// https://yaml.org/type/merge.html: a key of the mapping itself wins, then the first of the merged.
#include "src/base/text/yaml.h"

namespace cleanroom::base {

inline constexpr YamlLimits kLenientYamlLimits{.max_bytes = 1024 * 1024, .max_depth = 64, .max_nodes = 50'000};

// As parse_yaml(). The position of a node that came through an alias is where it was written.
std::optional<YamlNode> parse_lenient_yaml(std::string_view text, Diagnostics& diagnostics,
                                           YamlLimits limits = kLenientYamlLimits);

}  // namespace cleanroom::base
