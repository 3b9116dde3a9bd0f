#pragma once
// A strict reader of JSON (RFC 8259) and one canonical way to write it. Refused: duplicate keys, comments, bytes that
// are not UTF-8, trailing text, more than the limits.
#include "src/base/os/result.h"

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace cleanroom::base {

using Json = nlohmann::json;

struct JsonLimits {
  std::size_t max_bytes = 1024 * 1024;
  std::size_t max_depth = 32;
  std::size_t max_values = 100'000;
};

// invalid_input; the message says what and at which byte. `name` is what the text is called in it.
Result<Json> parse_json(std::string_view text, std::string_view name, JsonLimits limits = {});

// Keys sorted by bytes, no white space, UTF-8 as it is, control characters escaped: equal values give equal bytes.
// Strings that are not UTF-8 have their bad bytes replaced by U+FFFD.
std::string canonical_json(const Json& value);

}  // namespace cleanroom::base
