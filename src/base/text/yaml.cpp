// yaml-cpp's event interface feeds the tree. Its parser is recursive (CVE-2017-5950 and kin), so the depth limit stops
// it from inside the events, long before its own guard or the stack; sizes were bounded by the scan before it.
#include "src/base/text/yaml.h"

#include "src/base/text/utf8.h"
#include "src/base/text/yaml_scan.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <set>
#include <streambuf>

namespace cleanroom::base {
namespace {

// Thrown through yaml-cpp to end its run; never leaves this file.
struct StopParsing {};

// Reads from memory without a copy.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    // streambuf wants mutable pointers and never writes through them while only reading.
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, const YamlLimits& limits, Diagnostics& diagnostics)
      : text_(text), lines_(line_starts(text)), limits_(limits), diagnostics_(diagnostics) {}

  std::optional<YamlNode> take_root() { return std::move(root_); }

  TextPosition position_of(const YAML::Mark& mark) {
    if (mark.line < 0 || static_cast<std::size_t>(mark.line) >= lines_.size()) return {};
    const auto line = static_cast<std::size_t>(mark.line);
    const std::size_t wanted =
        std::min(lines_[line] + static_cast<std::size_t>(std::max(mark.column, 0)), text_.size());
    if (line != last_line_) {
      last_line_ = line;
      last_offset_ = lines_[line];
      last_column_ = 1;
    }
    // Counted from the last place asked for: a file may be one line of 256 KiB with 20,000 values.
    if (wanted >= last_offset_) {
      last_column_ += count_code_points(text_.substr(last_offset_, wanted - last_offset_));
    } else {
      last_column_ -= count_code_points(text_.substr(wanted, last_offset_ - wanted));
    }
    last_offset_ = wanted;
    return {line + 1, last_column_};
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check_properties(mark, {}, anchor);
    YamlNode node;
    node.position = position_of(mark);
    add(std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    diagnostics_.error(position_of(mark), {}, "aliases (*name) are not accepted");
    YamlNode node;
    node.position = position_of(mark);
    add(std::move(node));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_properties(mark, tag, anchor);
    YamlNode node;
    node.kind = YamlNode::Kind::scalar;
    node.position = position_of(mark);
    node.text = value;
    node.quoted = tag != "?";
    add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_properties(mark, tag, anchor);
    open(mark, YamlNode::Kind::sequence);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_properties(mark, tag, anchor);
    open(mark, YamlNode::Kind::mapping);
  }
  void OnMapEnd() override { close(); }

 private:
  // A collection under construction.
  struct Level {
    YamlNode node;
    std::optional<YamlEntry> pending;  // mapping: the key whose value comes next
    bool drop_next = false;            // mapping: the key was refused, its value goes too
    std::set<std::string, std::less<>> keys;
  };

  void check_properties(const YAML::Mark& mark, std::string_view tag, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) diagnostics_.error(position_of(mark), {}, "anchors (&name) are not accepted");
    // `!` alone gives a plain scalar the tag that quotes give, so the byte decides.
    const bool has_mark = mark.pos >= 0 && static_cast<std::size_t>(mark.pos) < text_.size();
    const bool bare_tag = has_mark && text_[static_cast<std::size_t>(mark.pos)] == '!';
    if (bare_tag || !(tag.empty() || tag == "?" || tag == "!")) {
      diagnostics_.error(position_of(mark), {}, "tags (!name) are not accepted");
    }
  }

  void count_node(const YAML::Mark& mark) {
    if (++nodes_ <= limits_.max_nodes) return;
    diagnostics_.error(position_of(mark), {}, fmt::format("more than {} values in one file", limits_.max_nodes));
    throw StopParsing{};
  }

  void open(const YAML::Mark& mark, YamlNode::Kind kind) {
    count_node(mark);
    if (levels_.size() >= limits_.max_depth) {
      diagnostics_.error(position_of(mark), {}, fmt::format("nested deeper than {} levels", limits_.max_depth));
      throw StopParsing{};
    }
    Level level;
    level.node.kind = kind;
    level.node.position = position_of(mark);
    levels_.push_back(std::move(level));
  }

  void close() {
    YamlNode node = std::move(levels_.back().node);
    levels_.pop_back();
    add(std::move(node));
  }

  void add(YamlNode node) {
    if (node.kind == YamlNode::Kind::scalar || node.kind == YamlNode::Kind::null) {
      if (++nodes_ > limits_.max_nodes) {
        diagnostics_.error(node.position, {}, fmt::format("more than {} values in one file", limits_.max_nodes));
        throw StopParsing{};
      }
    }
    if (levels_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = levels_.back();
    if (level.node.kind == YamlNode::Kind::sequence) {
      level.node.items.push_back(std::move(node));
    } else if (level.pending) {
      // yaml-cpp places a value that is not there at whatever comes next.
      if (node.kind == YamlNode::Kind::null) node.position = level.pending->key_position;
      level.pending->value = std::move(node);
      level.node.entries.push_back(std::move(*level.pending));
      level.pending.reset();
    } else if (level.drop_next) {
      level.drop_next = false;
    } else {
      add_key(level, std::move(node));
    }
  }

  void add_key(Level& level, YamlNode key) {
    std::string fault;
    if (key.kind != YamlNode::Kind::scalar) {
      fault = "a key must be text";
    } else if (!key.quoted && key.text == "<<") {
      fault = "merge keys (<<) are not accepted";
    } else if (!level.keys.insert(key.text).second) {
      fault = fmt::format("duplicate key {}", quote_text(key.text));
    }
    if (fault.empty()) {
      level.pending = YamlEntry{std::move(key.text), key.position, {}};
    } else {
      diagnostics_.error(key.position, {}, std::move(fault));
      level.drop_next = true;
    }
  }

  std::string_view text_;
  std::vector<std::size_t> lines_;
  YamlLimits limits_;
  Diagnostics& diagnostics_;
  std::vector<Level> levels_;
  std::optional<YamlNode> root_;
  std::size_t nodes_ = 0;
  // Where position_of() was asked last.
  std::size_t last_line_ = 0;
  std::size_t last_offset_ = 0;
  std::size_t last_column_ = 1;
};

// Takes the events of a second document, which exists or not.
bool has_content(YAML::Parser& parser) {
  class Nothing : public YAML::EventHandler {
    void OnDocumentStart(const YAML::Mark&) override { throw StopParsing{}; }
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
    void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
    void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
    void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}
  } nothing;
  try {
    return parser.HandleNextDocument(nothing);
  } catch (const StopParsing&) {
    return true;
  }
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool all_in(std::string_view text, std::string_view set) {
  return text.find_first_not_of(set) == std::string_view::npos;
}

bool is_number_like(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  if (is_one_of(text, {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"})) return true;
  const std::string_view radix = text.substr(0, 2);
  if (is_one_of(radix, {"0x", "0o", "0b", "0X", "0O", "0B"})) {
    return text.size() > 2 && all_in(text.substr(2), "0123456789abcdefABCDEF_");
  }
  // Digits with _, one dot, one exponent; at least one digit.
  const std::size_t exponent = std::min(text.find_first_of("eE"), text.size());
  const std::string_view mantissa = text.substr(0, exponent);
  std::string_view power = text.substr(std::min(exponent + 1, text.size()));
  if (!power.empty() && (power.front() == '-' || power.front() == '+')) power.remove_prefix(1);
  if (exponent < text.size() && (power.empty() || !all_in(power, "0123456789"))) return false;
  const bool has_digit = mantissa.find_first_of("0123456789") != std::string_view::npos;
  return has_digit && mantissa.front() != '_' && all_in(mantissa, "0123456789_.") &&
         std::count(mantissa.begin(), mantissa.end(), '.') <= 1;
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const YamlEntry& entry) { return entry.key == key; });
  return found == entries.end() ? nullptr : &found->value;
}

PlainScalar classify_plain_scalar(std::string_view text) {
  if (text == "true" || text == "false") return PlainScalar::boolean;
  if (is_one_of(text, {"True", "TRUE", "False", "FALSE", "yes", "Yes", "YES", "no", "No", "NO",
                       "on",   "On",   "ON",    "off",   "Off", "OFF", "y",   "Y",  "n",  "N"})) {
    return PlainScalar::ambiguous_boolean;
  }
  const bool digits = !text.empty() && all_in(text, "0123456789");
  if (digits && (text.size() == 1 || text.front() != '0')) return PlainScalar::integer;
  return is_number_like(text) ? PlainScalar::other_number : PlainScalar::text;
}

std::optional<YamlNode> parse_yaml(std::string_view text, Diagnostics& diagnostics, YamlLimits limits) {
  if (!scan_yaml_bytes(text, limits, diagnostics)) return std::nullopt;
  TreeBuilder builder(text, limits, diagnostics);
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      diagnostics.error({}, {}, "the file is empty");
      return std::nullopt;
    }
    if (has_content(parser)) diagnostics.error({}, {}, "more than one document in the file");
  } catch (const StopParsing&) {
    return std::nullopt;
  } catch (const YAML::Exception& error) {
    diagnostics.error(builder.position_of(error.mark), {}, fmt::format("not valid YAML: {}", error.msg));
    return std::nullopt;
  } catch (const std::exception& error) {
    diagnostics.error({}, {}, fmt::format("not valid YAML: {}", error.what()));
    return std::nullopt;
  }
  return builder.take_root();
}

}  // namespace cleanroom::base
