// The reader of YAML keeps no bytes, only places. So an edit is a guess at the bytes of a place, and then a proof: the
// edited text is read again, and its tree must be the tree of the old text with the one value set. A guess that is
// wrong costs an error message, never a changed file.
#include "src/policy/ref_edit.h"

#include "src/base/text/utf8.h"
#include "src/base/text/yaml.h"
#include "src/policy/load.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <vector>

namespace cleanroom::policy {
namespace {

using base::YamlNode;

constexpr const char* kName = "cleanroom.yaml";
constexpr std::array<std::string_view, 3> kKeys = {"sandbox", "image", "ref"};
using Keys = std::span<const std::string_view>;

base::Error invalid_edit(std::string message) {
  return {base::Code::invalid_input, "policy_invalid", std::move(message)};
}

base::Result<YamlNode> parse(std::string_view text) {
  base::Diagnostics diagnostics(kName, "policy_invalid");
  auto root = base::parse_yaml(text, diagnostics, {.max_bytes = kMaxPolicyBytes});
  if (root && !diagnostics.has_errors()) return std::move(*root);
  return base::fail(invalid_edit(fmt::format("cannot read policy:\n{}", fmt::join(diagnostics.lines(), "\n"))));
}

// Bytes [from, from + size) give way to `by`.
struct Edit {
  std::size_t from = 0;
  std::size_t size = 0;
  std::string by;
};

std::string apply(std::string_view text, const Edit& edit) {
  std::string out(text);
  return out.replace(edit.from, edit.size, edit.by);
}

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

// A key, and how deep it stands.
struct Place {
  const base::YamlEntry* entry = nullptr;  // the deepest key of kKeys that is there; nullptr: not even `sandbox`
  const YamlNode* mapping = nullptr;       // where the first missing key belongs, when its mapping is there
  std::size_t depth = 0;                   // how many of kKeys are there
  std::size_t indent = 0;                  // of `entry`, in columns
};

// Proposes edits for one text, the best first.
class Editor {
 public:
  Editor(std::string_view text, const YamlNode& root, std::string value)
      : text_(text),
        root_(root),
        value_(std::move(value)),
        plain_(value_.front() == '[' ? "'" + value_ + "'" : value_),
        eol_(text.find("\r\n") == text.npos ? "\n" : "\r\n") {
    for (std::size_t at = 0; at != text.npos;) {
      lines_.push_back(at);
      at = text.find('\n', at);
      if (at != text.npos) ++at;
    }
  }

  std::vector<Edit> propose() {
    Place place;
    place.mapping = &root_;
    for (const auto key : kKeys) {
      const auto& entries = place.mapping->entries;
      const auto found =
          std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.key == key; });
      if (found == entries.end()) {
        add_key(place);
        return std::move(edits_);
      }
      ++place.depth;
      place.indent = found->key_position.column - 1;
      place.entry = &*found;
      place.mapping = found->value.kind == YamlNode::Kind::mapping ? &found->value : nullptr;
      if (place.mapping == nullptr) break;
    }
    const YamlNode& value = place.entry->value;
    if (value.kind == YamlNode::Kind::null) {
      fill_empty(place);
    } else if (place.depth == kKeys.size() && value.kind == YamlNode::Kind::scalar) {
      replace_scalar(value);
    }
    return std::move(edits_);
  }

 private:
  std::size_t offset_of(base::TextPosition position) const {
    if (position.line == 0 || position.line > lines_.size()) return text_.size();
    std::size_t at = lines_[position.line - 1];
    for (std::size_t column = 1; column < position.column && at < text_.size(); ++column)
      at += std::max<std::size_t>(base::decode_utf8(text_.substr(at)).length, 1);
    return at;
  }
  std::size_t next_line(std::size_t line) const { return line < lines_.size() ? lines_[line] : text_.size(); }
  char byte(std::size_t at) const { return at < text_.size() ? text_[at] : '\n'; }
  void propose(std::size_t from, std::size_t size, std::string by) { edits_.push_back({from, size, std::move(by)}); }

  static Keys missing(const Place& place) { return Keys(kKeys).subspan(place.depth); }
  // `image: {ref: value}`
  std::string flow(Keys keys) const {
    if (keys.size() == 1) return fmt::format("{}: {}", keys.front(), plain_);
    return fmt::format("{}: {{{}}}", keys.front(), flow(keys.subspan(1)));
  }
  // The same, each key on a line.
  std::string block(Keys keys, std::size_t indent, std::size_t step) const {
    std::string out;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const std::string value = i + 1 == keys.size() ? " " + plain_ : "";
      out += fmt::format("{}{}:{}{}", std::string(indent + i * step, ' '), keys[i], value, eol_);
    }
    return out;
  }
  // Lines go after a line end, which the last line of a file may lack.
  void propose_lines(std::size_t at, std::string lines) {
    if (at > 0 && text_[at - 1] != '\n') lines.insert(0, eol_);
    propose(at, 0, std::move(lines));
  }

  void replace_scalar(const YamlNode& node) {
    const std::size_t start = offset_of(node.position);
    const char first = byte(start);
    if (first == '|' || first == '>') return replace_block(start, node.position.line);
    if (node.quoted) return replace_quoted(start, first);
    // A plain scalar over several lines is none of these bytes.
    if (text_.substr(start, node.text.size()) != node.text) return;
    propose(start, node.text.size(), plain_);
  }

  void replace_quoted(std::size_t start, char quote) {
    std::size_t end = start + 1;
    while (end < text_.size() && (text_[end] != quote || (quote == '\'' && byte(end + 1) == quote))) {
      const bool pair = text_[end] == quote || (quote == '"' && text_[end] == '\\');
      end += pair ? 2 : 1;
    }
    if (end < text_.size()) propose(start, end + 1 - start, quote + value_ + quote);
  }

  // Of a block scalar the one line that is not blank.
  void replace_block(std::size_t start, std::size_t line) {
    for (std::size_t at = next_line(line); at < text_.size(); at = next_line(++line)) {
      const std::size_t from = text_.find_first_not_of(' ', at);
      if (from == text_.npos || is_blank(text_[from]) || text_[from] == '\n') continue;
      std::size_t end = std::min(text_.find('\n', from), text_.size());
      while (end > from && is_blank(text_[end - 1]))
        --end;
      if (from > start) propose(from, end - from, value_);
      return;
    }
  }

  // `key:` with nothing after it, or with a null.
  void fill_empty(const Place& place) {
    const std::size_t key = offset_of(place.entry->key_position);
    const bool quoted = byte(key) == '"' || byte(key) == '\'';
    const std::size_t colon = text_.find(':', key + place.entry->key.size() + (quoted ? 2 : 0));
    if (colon == text_.npos) return;
    std::size_t token = colon + 1;
    while (is_blank(byte(token)))
      ++token;
    const Keys keys = missing(place);
    const std::string value = keys.empty() ? plain_ : "{" + flow(keys) + "}";
    for (const std::string_view null : {"~", "null", "Null", "NULL"}) {
      if (text_.substr(token, null.size()) == null) propose(token, null.size(), value);
    }
    if (!keys.empty()) {
      propose_lines(next_line(place.entry->key_position.line), block(keys, place.indent + step(), step()));
    }
    propose(colon + 1, 0, " " + value);
  }

  // By how much this file indents.
  std::size_t step() const {
    for (const auto& [key, position, value] : root_.entries) {
      if (value.kind != YamlNode::Kind::mapping || value.entries.empty()) continue;
      const auto child = value.entries.front().key_position;
      if (child.line > position.line && child.column > position.column) return child.column - position.column;
    }
    return 2;
  }

  // The mapping is there, the key is not.
  void add_key(const Place& place) {
    const Keys keys = missing(place);
    const std::size_t start = offset_of(place.mapping->position);
    const auto& entries = place.mapping->entries;
    if (byte(start) == '{') {
      if (entries.empty()) return propose(start + 1, 0, flow(keys));
      return propose(offset_of(entries.front().key_position), 0, flow(keys) + ", ");
    }
    if (entries.empty()) return;
    const std::size_t indent = entries.front().key_position.column - 1;
    const std::string lines = block(keys, indent, step());
    // Comments above a key go with that key: below the parent's line, or at the end of the file, is between them.
    const bool top = place.entry == nullptr;
    propose_lines(top ? text_.size() : next_line(place.entry->key_position.line), lines);
    propose_lines(lines_[entries.front().key_position.line - 1], lines);
  }

  std::string_view text_;
  const YamlNode& root_;
  std::string value_;
  std::string plain_;  // the value where no quotes are: an IPv6 registry starts as a list does
  std::string_view eol_;
  std::vector<std::size_t> lines_;
  std::vector<Edit> edits_;
};

// The tree with the value set; nullopt where something else than a mapping is in the way.
std::optional<YamlNode> with_ref(YamlNode root, const std::string& value) {
  YamlNode* node = &root;
  for (const auto key : kKeys) {
    if (node->kind == YamlNode::Kind::null) node->kind = YamlNode::Kind::mapping;
    if (node->kind != YamlNode::Kind::mapping) return std::nullopt;
    auto& entries = node->entries;
    auto found = std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.key == key; });
    if (found == entries.end()) found = entries.insert(entries.end(), base::YamlEntry{std::string(key), {}, {}});
    node = &found->value;
  }
  if (node->kind != YamlNode::Kind::null && node->kind != YamlNode::Kind::scalar) return std::nullopt;
  node->kind = YamlNode::Kind::scalar;
  node->text = value;
  return root;
}

// Order of keys means nothing, so an added one may be anywhere. Of the value alone the quotes may differ: `keys` are
// those that still lead to it.
bool same(const YamlNode& a, const YamlNode& b, Keys keys, bool on_path = true) {
  const bool is_ref = on_path && keys.empty();
  if (a.kind != b.kind || a.text != b.text || (a.quoted != b.quoted && !is_ref)) return false;
  if (a.items.size() != b.items.size() || a.entries.size() != b.entries.size()) return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!same(a.items[i], b.items[i], {}, false)) return false;
  }
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const base::YamlEntry& entry) {
    const YamlNode* other = b.find(entry.key);
    const bool next = on_path && !keys.empty() && entry.key == keys.front();
    return other != nullptr && same(entry.value, *other, next ? keys.subspan(1) : Keys(), next);
  });
}

base::Failure cannot_edit(std::string_view why, const std::string& value) {
  return base::fail(invalid_edit(fmt::format("cannot change sandbox.image.ref in place: {}", why))
                        .with_hint(fmt::format("write it by hand:\nsandbox:\n  image:\n    ref: {}", value)));
}

}  // namespace

base::Result<std::optional<model::ImageReference>> image_ref_of(std::string_view text) {
  CR_ASSIGN(const YamlNode root, parse(text));
  const YamlNode* node = &root;
  for (const auto key : kKeys) {
    if (node->kind == YamlNode::Kind::null) return std::nullopt;
    if (node->kind != YamlNode::Kind::mapping) {
      return base::fail(invalid_edit(fmt::format("cannot read policy: {}:{}:{}: expected a mapping", kName,
                                                 node->position.line, node->position.column)));
    }
    node = node->find(key);
    if (node == nullptr) return std::nullopt;
  }
  if (node->kind == YamlNode::Kind::null) return std::nullopt;
  if (node->kind != YamlNode::Kind::scalar) {
    return base::fail(invalid_edit(fmt::format("cannot read policy: {}:{}:{}: sandbox.image.ref: expected text", kName,
                                               node->position.line, node->position.column)));
  }
  CR_ASSIGN(auto reference, model::ImageReference::parse(node->text));
  return std::optional(std::move(reference));
}

base::Result<std::string> replace_image_ref(std::string_view text, const model::ImageReference& reference) {
  const std::string value = reference.to_string();
  if (!reference.pinned()) {
    return base::fail(base::Error(base::Code::invalid_input, "image_ref_invalid",
                                  fmt::format("cannot write '{}' to a policy: it has no digest", value))
                          .with_hint("a tag may change under a job; write registry/repository@sha256:..."));
  }
  CR_ASSIGN(const YamlNode root, parse(text));
  if (root.kind != YamlNode::Kind::mapping) return cannot_edit("the file is no mapping", value);
  const auto expected = with_ref(root, value);
  if (!expected) return cannot_edit("something else than a mapping is in its way", value);
  for (const Edit& edit : Editor(text, root, value).propose()) {
    std::string edited = apply(text, edit);
    const auto again = parse(edited);
    if (!again || !same(*expected, *again, kKeys)) continue;
    CR_ASSIGN(const auto loaded, load_policy_text(edited, kName));
    if (loaded.policy.image() == reference) return edited;
    return base::fail(base::Code::internal, fmt::format("cannot change sandbox.image.ref to '{}'", value));
  }
  return cannot_edit("its layout is not one that can be edited", value);
}

}  // namespace cleanroom::policy
