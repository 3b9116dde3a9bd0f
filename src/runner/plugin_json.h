#pragma once
// The plugin's options as a JSON value. Private to src/runner: it brings the JSON library in.
#include "src/base/os/result.h"
#include "src/base/text/json.h"
#include "src/runner/buildkite_plugin_config.h"

#include <nlohmann/json.hpp>

#include <string_view>

namespace cleanroom::runner {

// base::parse_json with the limits of a plugin's options; invalid_input (plugin_invalid).
base::Result<nlohmann::json> parse_plugin_json(std::string_view text, std::string_view what);

// "a string", "a list", ...
std::string_view json_kind(const nlohmann::json& value);

// parse_plugin_configuration() on a value.
base::Result<PluginOptions> plugin_options_from(const nlohmann::json& configuration);

}  // namespace cleanroom::runner
