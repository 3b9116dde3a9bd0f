#include "src/base/text/lenient_yaml.h"

#include "src/base/text/utf8.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

namespace cleanroom::base {
namespace {

// Thrown through yaml-cpp, whose parser is recursive, to end its run; never leaves this file.
struct StopLenientParsing {};

std::size_t count_nodes(const YamlNode& node) {
  std::size_t count = 1;
  for (const YamlNode& item : node.items)
    count += count_nodes(item);
  for (const YamlEntry& entry : node.entries)
    count += 1 + count_nodes(entry.value);
  return count;
}

class LenientTreeBuilder : public YAML::EventHandler {
 public:
  LenientTreeBuilder(const YamlLimits& limits, Diagnostics& diagnostics) : limits_(limits), diagnostics_(diagnostics) {}

  std::optional<YamlNode> take_root() { return std::move(root_); }
  int documents() const { return documents_; }

  // Columns are bytes here: yaml-cpp counts them so, and a pipeline's author needs the line.
  static TextPosition position_of(const YAML::Mark& mark) {
    if (mark.line < 0) return {};
    return {static_cast<std::size_t>(mark.line) + 1, static_cast<std::size_t>(std::max(mark.column, 0)) + 1};
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) stop(mark, "more than one document in the file");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add({.position = count(mark)}, anchor); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node{.kind = YamlNode::Kind::scalar, .position = count(mark), .text = value, .quoted = tag != "?"};
    add(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    // Not there yet: an alias inside of what it names.
    if (found == anchors_.end()) return stop(mark, "an alias names what it is part of");
    if (nodes_ += count_nodes(found->second); nodes_ > limits_.max_nodes) stop_at_limit(mark);
    YamlNode copy = found->second;
    add(std::move(copy), YAML::NullAnchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, YamlNode::Kind::sequence, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, YamlNode::Kind::mapping, anchor);
  }
  void OnMapEnd() override {
    merge(levels_.back());
    close();
  }

 private:
  struct Level {
    YamlNode node;
    YAML::anchor_t anchor = YAML::NullAnchor;
    std::optional<YamlEntry> pending;  // mapping: the key whose value comes next
    bool merge_next = false;           // mapping: the value of `<<` comes next
    std::vector<YamlNode> merged;      // mappings, the first wins
    std::set<std::string, std::less<>> keys;
  };

  void stop(TextPosition position, std::string fault) {
    diagnostics_.error(position, {}, std::move(fault));
    throw StopLenientParsing{};
  }
  void stop(const YAML::Mark& mark, std::string fault) { stop(position_of(mark), std::move(fault)); }
  void stop_at_limit(const YAML::Mark& mark) {
    stop(mark, fmt::format("more than {} values in one file", limits_.max_nodes));
  }

  TextPosition count(const YAML::Mark& mark) {
    if (++nodes_ > limits_.max_nodes) stop_at_limit(mark);
    return position_of(mark);
  }

  void open(const YAML::Mark& mark, YamlNode::Kind kind, YAML::anchor_t anchor) {
    const TextPosition position = count(mark);
    if (levels_.size() >= limits_.max_depth) stop(mark, fmt::format("nested deeper than {} levels", limits_.max_depth));
    Level level;
    level.node.kind = kind;
    level.node.position = position;
    level.anchor = anchor;
    levels_.push_back(std::move(level));
  }

  void close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    add(std::move(level.node), level.anchor);
  }

  void add(YamlNode node, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      nodes_ += count_nodes(node);  // the copy that is kept
      if (nodes_ > limits_.max_nodes)
        stop(node.position, fmt::format("more than {} values in one file", limits_.max_nodes));
      anchors_.insert_or_assign(anchor, node);
    }
    if (levels_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = levels_.back();
    if (level.node.kind == YamlNode::Kind::sequence) {
      level.node.items.push_back(std::move(node));
    } else if (level.merge_next) {
      level.merge_next = false;
      take_merged(level, std::move(node));
    } else if (level.pending) {
      level.pending->value = std::move(node);
      level.node.entries.push_back(std::move(*level.pending));
      level.pending.reset();
    } else {
      add_key(level, std::move(node));
    }
  }

  void add_key(Level& level, YamlNode key) {
    if (key.kind != YamlNode::Kind::scalar) stop(key.position, "a key must be text");
    if (!key.quoted && key.text == "<<") {
      level.merge_next = true;
      return;
    }
    if (!level.keys.insert(key.text).second) stop(key.position, fmt::format("duplicate key {}", quote_text(key.text)));
    level.pending = YamlEntry{std::move(key.text), key.position, {}};
  }

  void take_merged(Level& level, YamlNode node) {
    const TextPosition position = node.position;
    if (node.kind == YamlNode::Kind::mapping) {
      level.merged.push_back(std::move(node));
      return;
    }
    if (node.kind != YamlNode::Kind::sequence) stop(position, "a merge key (<<) takes a mapping, or a list of them");
    for (YamlNode& item : node.items) {
      if (item.kind != YamlNode::Kind::mapping) stop(position, "a merge key (<<) takes a mapping, or a list of them");
      level.merged.push_back(std::move(item));
    }
  }

  static void merge(Level& level) {
    for (YamlNode& from : level.merged) {
      for (YamlEntry& entry : from.entries) {
        if (level.keys.insert(entry.key).second) level.node.entries.push_back(std::move(entry));
      }
    }
  }

  YamlLimits limits_;
  Diagnostics& diagnostics_;
  std::vector<Level> levels_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  std::optional<YamlNode> root_;
  std::size_t nodes_ = 0;
  int documents_ = 0;
};

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = decode_utf8(text).length;
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace

std::optional<YamlNode> parse_lenient_yaml(std::string_view text, Diagnostics& diagnostics, YamlLimits limits) {
  if (text.size() > limits.max_bytes) {
    diagnostics.error({}, {}, fmt::format("longer than {} bytes", limits.max_bytes));
    return std::nullopt;
  }
  if (!is_utf8(text) || text.find('\0') != std::string_view::npos) {
    diagnostics.error({}, {}, "not UTF-8 text");
    return std::nullopt;
  }
  LenientTreeBuilder builder(limits, diagnostics);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
    if (builder.documents() == 0) diagnostics.error({}, {}, "the file is empty");
  } catch (const StopLenientParsing&) {
    return std::nullopt;
  } catch (const YAML::Exception& error) {
    diagnostics.error(LenientTreeBuilder::position_of(error.mark), {}, fmt::format("not valid YAML: {}", error.msg));
    return std::nullopt;
  } catch (const std::exception& error) {
    diagnostics.error({}, {}, fmt::format("not valid YAML: {}", error.what()));
    return std::nullopt;
  }
  return builder.take_root();
}

}  // namespace cleanroom::base
