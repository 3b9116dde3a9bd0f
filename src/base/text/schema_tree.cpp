#include "src/base/text/schema_tree.h"

#include "src/base/os/check.h"

namespace cleanroom::base {
namespace {

// The next step of a path: a key, `*`, or `[]`.
std::string take_step(std::string_view& path) {
  if (path.substr(0, 2) == "[]") {
    path.remove_prefix(2);
    return "[]";
  }
  if (!path.empty() && path.front() == '.') path.remove_prefix(1);
  const std::size_t end = std::min(path.find_first_of(".["), path.size());
  std::string step(path.substr(0, end));
  path.remove_prefix(end);
  return step;
}

std::unique_ptr<SchemaTree>& child_slot(SchemaTree& tree, const std::string& step) {
  if (step == "[]") return tree.item;
  if (step == "*") return tree.any_key;
  return tree.keys[step];
}

}  // namespace

SchemaTree SchemaTree::of(const Schema& schema) {
  SchemaTree root;
  for (const auto& row : schema) {
    SchemaTree* at = &root;
    std::string_view rest = row.path;
    while (!rest.empty()) {
      auto& slot = child_slot(*at, take_step(rest));
      CR_CHECK(slot || rest.empty(), "schema row '{}' comes before its parent", row.path);
      if (!slot) slot = std::make_unique<SchemaTree>();
      at = slot.get();
    }
    CR_CHECK(at->row == nullptr, "schema row '{}' twice", row.path);
    at->row = &row;
  }
  return root;
}

std::vector<std::string> SchemaTree::key_names() const {
  std::vector<std::string> names;
  for (const auto& [name, child] : keys)
    names.push_back(name);
  if (any_key && row != nullptr) names.insert(names.end(), row->choices.begin(), row->choices.end());
  return names;
}

std::string_view to_string(SchemaType type) {
  switch (type) {
    case SchemaType::mapping:
      return "mapping";
    case SchemaType::sequence:
      return "list";
    case SchemaType::string:
      return "text";
    case SchemaType::integer:
      return "integer";
    case SchemaType::boolean:
      return "true or false";
  }
  return "";
}

}  // namespace cleanroom::base
