#include "src/base/text/schema.h"
#include "src/base/text/schema_tree.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace cleanroom::base {
namespace {

constexpr auto kNoMaximum = std::numeric_limits<std::int64_t>::max();

Json render(const SchemaTree& tree);

void render_mapping(const SchemaTree& tree, Json& out) {
  out["type"] = "object";
  out["additionalProperties"] = false;
  Json required = Json::array();
  for (const auto& [key, child] : tree.keys) {
    if (!child->row->not_accepted.empty()) continue;
    out["properties"][key] = render(*child);
    if (child->row->presence == Presence::required) required.push_back(key);
  }
  if (!required.empty()) out["required"] = std::move(required);
  if (!tree.any_key) return;
  if (tree.row == nullptr || tree.row->choices.empty()) {
    out["additionalProperties"] = render(*tree.any_key);
    return;
  }
  for (const auto& key : tree.row->choices)
    out["properties"][key] = render(*tree.any_key);
}

Json render(const SchemaTree& tree) {
  const SchemaRow& row = *tree.row;
  Json out = Json::object();
  if (!row.doc.empty()) out["description"] = row.doc;
  if (!row.default_json.empty()) out["default"] = Json::parse(row.default_json);
  switch (row.type) {
    case SchemaType::mapping:
      render_mapping(tree, out);
      break;
    case SchemaType::sequence:
      out["type"] = "array";
      out["items"] = render(*tree.item);
      out["maxItems"] = row.max_size;
      if (row.min_size > 0) out["minItems"] = row.min_size;
      break;
    case SchemaType::string:
      out["type"] = "string";
      if (row.choices.empty()) {
        out["maxLength"] = row.max_size;
        if (row.min_size > 0) out["minLength"] = row.min_size;
      } else {
        out["enum"] = row.choices;
      }
      break;
    case SchemaType::integer:
      out["type"] = "integer";
      out["minimum"] = row.minimum;
      if (row.maximum != kNoMaximum) out["maximum"] = row.maximum;
      break;
    case SchemaType::boolean:
      out["type"] = "boolean";
      break;
  }
  return out;
}

std::string value_column(const SchemaRow& row) {
  if (row.type == SchemaType::string && !row.choices.empty())
    return fmt::format("`{}`", fmt::join(row.choices, "` \\| `"));
  if (row.type == SchemaType::mapping && !row.choices.empty()) {
    return fmt::format("mapping with the keys `{}`", fmt::join(row.choices, "`, `"));
  }
  if (row.type == SchemaType::integer && row.minimum == row.maximum) return fmt::format("`{}`", row.minimum);
  if (row.type == SchemaType::integer) {
    return row.maximum == kNoMaximum ? fmt::format("integer from {}", row.minimum)
                                     : fmt::format("integer {} to {}", row.minimum, row.maximum);
  }
  return std::string(to_string(row.type));
}

}  // namespace

Json to_json_schema(const Schema& schema, std::string_view title) {
  Json out = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", title}};
  render_mapping(SchemaTree::of(schema), out);
  return out;
}

std::string to_markdown(const Schema& schema) {
  std::string out = "| key | value | default | meaning |\n|---|---|---|---|\n";
  for (const auto& row : schema) {
    std::string fallback = row.presence == Presence::required ? "required" : row.default_json;
    if (!fallback.empty() && row.presence != Presence::required) fallback = fmt::format("`{}`", fallback);
    const std::string meaning = row.not_accepted.empty() ? row.doc : "Refused: " + row.not_accepted + ".";
    out += fmt::format("| `{}` | {} | {} | {} |\n", row.path, value_column(row), fallback, meaning);
  }
  return out;
}

}  // namespace cleanroom::base
