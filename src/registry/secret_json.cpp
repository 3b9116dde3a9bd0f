#include "src/registry/secret_json.h"

#include "src/base/os/defer.h"

#include <charconv>

namespace cleanroom::registry {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

// Position after the closing quote of the string that begins at `open`, or npos.
std::size_t end_of_string(std::string_view text, std::size_t open) {
  for (auto at = open + 1; at < text.size(); ++at) {
    if (text[at] == '\\')
      ++at;
    else if (text[at] == '"')
      return at + 1;
  }
  return std::string_view::npos;
}

bool is_key(std::string_view text, std::size_t after) {
  const auto at = text.find_first_not_of(kBlanks, after);
  return at != std::string_view::npos && text[at] == ':';
}

void append_utf8(std::string& out, std::uint32_t c) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | (c >> 6U));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12U));
    put(0x80 | ((c >> 6U) & 0x3FU));
  } else {
    put(0xF0 | (c >> 18U));
    put(0x80 | ((c >> 12U) & 0x3FU));
    put(0x80 | ((c >> 6U) & 0x3FU));
  }
  put(0x80 | (c & 0x3FU));
}

std::optional<std::uint32_t> take_hex4(std::string_view& text) {
  std::uint32_t value = 0;
  const auto digits = text.substr(0, 4);
  const auto* const end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, value, 16);
  if (digits.size() != 4 || parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  text.remove_prefix(4);
  return value;
}

// What follows `\u`, a surrogate pair taken together.
std::optional<std::uint32_t> take_code_point(std::string_view& text) {
  auto first = take_hex4(text);
  if (!first || (*first >= 0xDC00 && *first < 0xE000)) return std::nullopt;
  if (*first < 0xD800 || *first >= 0xE000) return first;
  if (!text.starts_with("\\u")) return std::nullopt;
  text.remove_prefix(2);
  const auto second = take_hex4(text);
  if (!second || *second < 0xDC00 || *second >= 0xE000) return std::nullopt;
  return 0x10000 + ((*first - 0xD800) << 10U) + (*second - 0xDC00);
}

// Appends; never more bytes than `text` has.
bool unescape(std::string_view text, std::string& out) {
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (static_cast<unsigned char>(c) < 0x20) return false;
    if (c != '\\') {
      out += c;
      continue;
    }
    if (text.empty()) return false;
    const char name = text.front();
    text.remove_prefix(1);
    if (name == 'u') {
      const auto code_point = take_code_point(text);
      if (!code_point) return false;
      append_utf8(out, *code_point);
      continue;
    }
    const auto at = kNames.find(name);
    if (at == std::string_view::npos) return false;
    out += kMeanings[at];
  }
  return true;
}

}  // namespace

base::Result<SecretJson> SecretJson::parse(std::string_view text, std::size_t max_bytes) {
  const auto refuse = [] { return base::fail(base::Code::invalid_input, "it is not JSON as it should be"); };
  if (text.size() > max_bytes) {
    return base::fail(base::Code::invalid_input, fmt::format("it is longer than {} bytes", max_bytes));
  }
  SecretJson out;
  std::string skeleton;
  // Should the scan mistake a secret for something else, it does not stay either.
  const base::Defer wipe([&] { base::wipe(skeleton); });
  skeleton.reserve(2 * text.size() + 64);
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '"') {
      skeleton += text[at++];
      continue;
    }
    const auto end = end_of_string(text, at);
    if (end == std::string_view::npos) return refuse();
    if (is_key(text, end)) {
      skeleton.append(text.substr(at, end - at));
    } else {
      skeleton += fmt::format("\"{}\"", out.strings_.size());
      out.strings_.push_back(text.substr(at + 1, end - at - 2));
    }
    at = end;
  }
  // Its message may quote the text.
  auto root = base::parse_json(skeleton, "text", {.max_bytes = 2 * max_bytes + 64});
  if (!root) return refuse();
  out.root_ = std::make_unique<const base::Json>(std::move(*root));
  return out;
}

std::optional<base::Secret> SecretJson::text(const base::Json& object, const std::string& key) const {
  if (!object.is_object()) return base::Secret();
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return base::Secret();
  const auto& number = found->get_ref<const std::string&>();
  std::size_t index = 0;
  std::from_chars(number.data(), number.data() + number.size(), index);
  const auto raw = strings_.at(index);
  std::string plain;
  plain.reserve(raw.size());
  const bool good = unescape(raw, plain);
  base::Secret out(std::move(plain));
  if (!good) return std::nullopt;
  return out;
}

}  // namespace cleanroom::registry
