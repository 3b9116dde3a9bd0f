#pragma once
// A schema table: one row for each key of a YAML file. The same rows drive the strict check, the JSON Schema for
// editors and the reference in docs/, so that the three cannot disagree.
//
// Paths: `sandbox.network.allow[].host`; `[]` is an element of a list, `*` any key of a mapping (`metadata.*`).
// Every parent of a path has a row of its own.
#include "src/base/text/diagnostic.h"
#include "src/base/text/json.h"
#include "src/base/text/yaml.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::base {

enum class SchemaType { mapping, sequence, string, integer, boolean };
enum class Presence { optional, required };

struct SchemaRow {
  std::string path;
  SchemaType type = SchemaType::string;
  Presence presence = Presence::optional;
  std::string default_json;  // filled in when the key is absent and its parent is there; empty = stays absent
  std::string doc;           // one sentence for people
  std::int64_t minimum = 0;  // integer: value
  std::int64_t maximum = std::numeric_limits<std::int64_t>::max();
  std::size_t min_size = 0;  // string: bytes; sequence: items; mapping: keys
  std::size_t max_size = 256;
  std::vector<std::string> choices;  // string: the only values; mapping with `*`: the only keys
  std::string not_accepted;          // known, but refused with this message: never ignored
};

using Schema = std::vector<SchemaRow>;

struct CheckedDocument {
  // What is right of the file, defaults filled in; what is wrong is left out.
  Json value;
  // Key path -> place in the file, for later complaints.
  std::map<std::string, TextPosition> positions;

  CheckedDocument();
  // The place of a key path, or of the nearest parent that is in the file.
  TextPosition position_of(std::string_view key_path) const;
};

// Every fault goes to `diagnostics`: unknown keys (with "did you mean"), missing ones, wrong types. No scalar is ever
// converted: `"443"` is not an integer, `no` and `1.2` are not text, `yes` is not a boolean.
CheckedDocument check_schema(const YamlNode& root, const Schema& schema, Diagnostics& diagnostics);

// JSON Schema 2020-12.
Json to_json_schema(const Schema& schema, std::string_view title);
// A Markdown table, a row for each key.
std::string to_markdown(const Schema& schema);

}  // namespace cleanroom::base
