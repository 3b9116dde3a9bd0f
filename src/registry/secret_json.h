#pragma once
// JSON that has secrets in it, read so that they stay in buffers that are wiped: the JSON library, which keeps copies,
// gets the text with every string but the keys replaced by its number.
#include "src/base/os/secret.h"
#include "src/base/text/json.h"

#include <nlohmann/json.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::registry {

class SecretJson {
 public:
  // `text` (a value of JSON, at most `max_bytes`) must outlive this. invalid_input, which quotes nothing of the text:
  // strict as base::parse_json().
  static base::Result<SecretJson> parse(std::string_view text, std::size_t max_bytes);

  // Its strings are numbers: text() has what they say.
  const base::Json& root() const { return *root_; }
  // Of a string of root(), unescaped. Empty when `object` has no such key, or no string there. nullopt: its escapes are
  // malformed.
  std::optional<base::Secret> text(const base::Json& object, const std::string& key) const;

 private:
  std::unique_ptr<const base::Json> root_;
  std::vector<std::string_view> strings_;  // as they stand between the quotes
};

}  // namespace cleanroom::registry
