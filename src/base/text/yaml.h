#pragma once
// A strict reader of YAML, for files that a stranger wrote: the part of YAML 1.2 that means the same to every reader.
//
// Refused, each with its place: anchors, aliases, merge keys, tags, directives, a second document, duplicate keys, keys
// that are not text, tabs in indentation, control and direction-changing characters, a byte order mark, anything but
// UTF-8, more than the limits. Nothing is converted: a scalar keeps its text and whether it was quoted, and its reader
// decides.
#include "src/base/text/diagnostic.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::base {

struct YamlLimits {
  std::size_t max_bytes = 256 * 1024;
  std::size_t max_depth = 32;
  std::size_t max_nodes = 20'000;
};

struct YamlEntry;

struct YamlNode {
  enum class Kind { null, scalar, sequence, mapping };
  Kind kind = Kind::null;  // null: nothing there, `~` or `null`
  TextPosition position;
  std::string text;     // scalar
  bool quoted = false;  // scalar: quoted or a block (| >), so never a number or a boolean
  std::vector<YamlNode> items;
  std::vector<YamlEntry> entries;  // in the order of the file

  const YamlNode* find(std::string_view key) const;  // mapping; nullptr when it is not there
};

struct YamlEntry {
  std::string key;
  TextPosition key_position;
  YamlNode value;
};

// What a plain (unquoted) scalar is taken for by the YAML readers people use: 1.1 and 1.2 together. `no` is a boolean
// to some and a text to others, so here it is neither.
enum class PlainScalar { text, boolean, ambiguous_boolean, integer, other_number };
PlainScalar classify_plain_scalar(std::string_view text);

// Errors go to `diagnostics`. The tree is returned as far as it could be built, so that the caller can report what else
// is wrong; it must not be used for anything else when diagnostics.has_errors(). nullopt: there is no tree at all.
std::optional<YamlNode> parse_yaml(std::string_view text, Diagnostics& diagnostics, YamlLimits limits = {});

}  // namespace cleanroom::base
