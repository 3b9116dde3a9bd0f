#pragma once
// The look over the bytes before a YAML library sees them. Internal to src/base/text.
#include "src/base/text/diagnostic.h"
#include "src/base/text/yaml.h"

#include <string_view>
#include <vector>

namespace cleanroom::base {

// Byte offsets of the first byte of each line.
std::vector<std::size_t> line_starts(std::string_view text);

// Size, UTF-8, characters, tabs in indentation, directives. Reports the first offence of each line, at most ten.
// False: do not parse it.
bool scan_yaml_bytes(std::string_view text, const YamlLimits& limits, Diagnostics& diagnostics);

}  // namespace cleanroom::base
