#include "src/runner/plugin_json.h"

namespace cleanroom::runner {

base::Result<nlohmann::json> parse_plugin_json(std::string_view text, std::string_view what) {
  auto json = base::parse_json(text, what, {.max_bytes = kMaxPluginJsonBytes, .max_depth = 16, .max_values = 10'000});
  if (!json) json.error().reason = "plugin_invalid";
  return json;
}

std::string_view json_kind(const nlohmann::json& value) {
  if (value.is_null()) return "null";
  if (value.is_object()) return "a mapping";
  if (value.is_array()) return "a list";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return "true or false";
  return "a number";
}

}  // namespace cleanroom::runner
