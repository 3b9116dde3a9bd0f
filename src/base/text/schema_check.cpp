#include "src/base/os/ascii.h"
#include "src/base/os/check.h"
#include "src/base/text/did_you_mean.h"
#include "src/base/text/schema.h"
#include "src/base/text/schema_tree.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

namespace cleanroom::base {
namespace {

// `a.b`, with keys that are no plain words in quotes: they come from a stranger's file.
std::string join_path(const std::string& parent, std::string_view key) {
  const auto plain = [](char c) { return base::is_ascii_alnum(c) || c == '_' || c == '-'; };
  const bool simple = !key.empty() && key.size() <= 64 && std::all_of(key.begin(), key.end(), plain);
  const std::string shown = simple ? std::string(key) : quote_text(key);
  return parent.empty() ? shown : parent + "." + shown;
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "nothing (null)";
    case YamlNode::Kind::sequence:
      return "a list";
    case YamlNode::Kind::mapping:
      return "a mapping";
    case YamlNode::Kind::scalar:
      break;
  }
  if (node.quoted) return "the text " + quote_text(node.text, 40);
  switch (classify_plain_scalar(node.text)) {
    case PlainScalar::boolean:
      return "the boolean " + node.text;
    case PlainScalar::ambiguous_boolean:
      return quote_text(node.text, 40) + ", which is a boolean to some YAML readers";
    case PlainScalar::integer:
    case PlainScalar::other_number:
      return "the number " + quote_text(node.text, 40);
    case PlainScalar::text:
      break;
  }
  return "the text " + quote_text(node.text, 40);
}

class Checker {
 public:
  Checker(CheckedDocument& document, Diagnostics& diagnostics) : document_(document), diagnostics_(diagnostics) {}

  // The checked value, or nullopt when it is wrong (and reported).
  std::optional<Json> check(const YamlNode& node, const SchemaTree& tree, const std::string& path) {
    document_.positions[path] = node.position;
    const SchemaRow& row = *tree.row;
    if (!row.not_accepted.empty()) return refuse(node, path, row.not_accepted);
    switch (row.type) {
      case SchemaType::mapping:
        return check_mapping(node, tree, path);
      case SchemaType::sequence:
        return check_sequence(node, tree, path);
      case SchemaType::string:
        return check_string(node, row, path);
      case SchemaType::integer:
        return check_integer(node, row, path);
      case SchemaType::boolean:
        return check_boolean(node, path);
    }
    return std::nullopt;
  }

  Json check_keys(const YamlNode& node, const SchemaTree& tree, const std::string& path) {
    Json out = Json::object();
    for (const auto& entry : node.entries) {
      const std::string key_path = join_path(path, entry.key);
      const SchemaTree* child = find_key(tree, entry, key_path);
      if (child == nullptr) continue;
      if (auto value = check(entry.value, *child, key_path)) out[entry.key] = std::move(*value);
    }
    for (const auto& [key, child] : tree.keys) {
      if (node.find(key) == nullptr) fill_in(out, key, *child, node.position, join_path(path, key));
    }
    return out;
  }

 private:
  std::nullopt_t refuse(const YamlNode& node, const std::string& path, std::string message) {
    diagnostics_.error(node.position, path, std::move(message));
    return std::nullopt;
  }

  const SchemaTree* find_key(const SchemaTree& tree, const YamlEntry& entry, const std::string& key_path) {
    if (const auto found = tree.keys.find(entry.key); found != tree.keys.end()) return found->second.get();
    const bool closed = tree.row != nullptr && !tree.row->choices.empty();
    if (tree.any_key) {
      const auto& choices = tree.row->choices;
      if (!closed || std::find(choices.begin(), choices.end(), entry.key) != choices.end()) return tree.any_key.get();
    }
    const auto known = tree.key_names();
    std::string message = fmt::format("unknown key {}", quote_text(entry.key, 40));
    if (const auto meant = did_you_mean(entry.key, known)) {
      message += fmt::format("; did you mean '{}'?", *meant);
    } else if (!known.empty()) {
      message += fmt::format("; known here: {}", fmt::join(known, ", "));
    }
    diagnostics_.error(entry.key_position, key_path, std::move(message));
    return nullptr;
  }

  void fill_in(Json& out, const std::string& key, const SchemaTree& child, TextPosition where,
               const std::string& path) {
    const SchemaRow& row = *child.row;
    if (row.presence == Presence::required) diagnostics_.error(where, path, "required key is missing");
    if (row.default_json.empty()) return;
    Json value = Json::parse(row.default_json);
    // An empty mapping as default brings the defaults of its own keys.
    if (value.is_object() && value.empty()) {
      for (const auto& [name, grandchild] : child.keys)
        fill_in(value, name, *grandchild, where, join_path(path, name));
    }
    out[key] = std::move(value);
  }

  std::optional<Json> check_mapping(const YamlNode& node, const SchemaTree& tree, const std::string& path) {
    if (node.kind != YamlNode::Kind::mapping) return refuse(node, path, "expected a mapping, found " + describe(node));
    if (node.entries.size() > tree.row->max_size) {
      return refuse(node, path, fmt::format("more than {} keys", tree.row->max_size));
    }
    return check_keys(node, tree, path);
  }

  std::optional<Json> check_sequence(const YamlNode& node, const SchemaTree& tree, const std::string& path) {
    const SchemaRow& row = *tree.row;
    if (node.kind != YamlNode::Kind::sequence) return refuse(node, path, "expected a list, found " + describe(node));
    if (node.items.size() > row.max_size) return refuse(node, path, fmt::format("more than {} elements", row.max_size));
    if (node.items.size() < row.min_size) return refuse(node, path, "the list is empty");
    Json out = Json::array();
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const std::string item_path = fmt::format("{}[{}]", path, i);
      // A null keeps the index of the elements after it.
      out.push_back(check(node.items[i], *tree.item, item_path).value_or(Json(nullptr)));
    }
    return out;
  }

  std::optional<Json> check_string(const YamlNode& node, const SchemaRow& row, const std::string& path) {
    if (node.kind != YamlNode::Kind::scalar) return refuse(node, path, "expected text, found " + describe(node));
    const bool is_text = node.quoted || classify_plain_scalar(node.text) == PlainScalar::text;
    if (!row.choices.empty()) return check_choice(node, row, path, is_text);
    if (!is_text) {
      return refuse(node, path, fmt::format("expected text, found {}; write \"{}\"", describe(node), node.text));
    }
    if (node.text.size() < row.min_size) return refuse(node, path, "the text is empty");
    if (node.text.size() > row.max_size) return refuse(node, path, fmt::format("longer than {} bytes", row.max_size));
    return Json(node.text);
  }

  std::optional<Json> check_choice(const YamlNode& node, const SchemaRow& row, const std::string& path, bool is_text) {
    if (is_text && std::find(row.choices.begin(), row.choices.end(), node.text) != row.choices.end()) {
      return Json(node.text);
    }
    std::string message = fmt::format("expected {}, found {}", fmt::join(row.choices, " or "), describe(node));
    if (const auto meant = did_you_mean(node.text, row.choices)) message += fmt::format("; did you mean '{}'?", *meant);
    return refuse(node, path, std::move(message));
  }

  std::optional<Json> check_integer(const YamlNode& node, const SchemaRow& row, const std::string& path) {
    const bool integer =
        node.kind == YamlNode::Kind::scalar && !node.quoted && classify_plain_scalar(node.text) == PlainScalar::integer;
    if (!integer) {
      const bool number = node.kind == YamlNode::Kind::scalar && !node.quoted &&
                          classify_plain_scalar(node.text) == PlainScalar::other_number;
      return refuse(
          node, path,
          fmt::format("expected {}, found {}", number ? "a plain decimal integer" : "an integer", describe(node)));
    }
    std::int64_t value = 0;
    const char* end = node.text.data() + node.text.size();
    const auto parsed = std::from_chars(node.text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end || value < row.minimum || value > row.maximum) {
      const std::string range = row.minimum == row.maximum ? fmt::format("only {} is accepted", row.minimum)
                                                           : fmt::format("expected {} to {}", row.minimum, row.maximum);
      return refuse(node, path, fmt::format("{}, found {}", range, quote_text(node.text, 24)));
    }
    return Json(value);
  }

  std::optional<Json> check_boolean(const YamlNode& node, const std::string& path) {
    const bool boolean =
        node.kind == YamlNode::Kind::scalar && !node.quoted && classify_plain_scalar(node.text) == PlainScalar::boolean;
    if (!boolean) return refuse(node, path, "expected true or false, found " + describe(node));
    return Json(node.text == "true");
  }

  CheckedDocument& document_;
  Diagnostics& diagnostics_;
};

}  // namespace

CheckedDocument::CheckedDocument() : value(Json::object()) {}

TextPosition CheckedDocument::position_of(std::string_view key_path) const {
  std::string path(key_path);
  while (!path.empty()) {
    if (const auto found = positions.find(path); found != positions.end()) return found->second;
    const std::size_t cut = path.find_last_of(".[");
    path.resize(cut == std::string::npos ? 0 : cut);
  }
  const auto root = positions.find("");
  return root == positions.end() ? TextPosition{} : root->second;
}

CheckedDocument check_schema(const YamlNode& root, const Schema& schema, Diagnostics& diagnostics) {
  CheckedDocument document;
  document.positions[""] = root.position;
  if (root.kind != YamlNode::Kind::mapping) {
    diagnostics.error(root.position, {}, "expected a mapping, found " + describe(root));
    return document;
  }
  const SchemaTree tree = SchemaTree::of(schema);
  document.value = Checker(document, diagnostics).check_keys(root, tree, "");
  return document;
}

}  // namespace cleanroom::base
