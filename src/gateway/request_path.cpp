#include "src/gateway/request_path.h"

#include "src/base/os/ascii.h"
#include "src/gateway/limits.h"

#include <algorithm>

namespace cleanroom::gateway {

using base::Result;

namespace {

base::Failure refuse(std::string_view why) {
  return base::fail(base::Code::invalid_input, "gateway_request_invalid",
                    fmt::format("the request's path is not accepted: {}", why));
}

bool is_unreserved(char c) {
  return base::is_ascii_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

// Characters that RFC 3986 allows in a segment or query as they are, but for `;` (parameters, to some servers).
bool may_stand(char c) {
  return is_unreserved(c) || std::string_view("!$&'()*+,=:@").find(c) != std::string_view::npos;
}

// nullopt: a broken escape, or a character that may neither stand there nor be meant.
std::optional<std::string> decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = base::hex_value(text[i + 1]);
      const int low = base::hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    // After decoding: `%` would be a second layer of escapes, the others end or split a path somewhere.
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f || c == '%' || c == '/' || c == '\\' || c == ';' || c == '?' || c == '#')
      return std::nullopt;
    out += c;
  }
  return out;
}

bool is_raw(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '%' || may_stand(c); });
}

Result<void> read_segments(std::string_view path, RequestPath& out) {
  path.remove_prefix(1);
  for (;;) {
    const auto end = path.find('/');
    const auto raw = path.substr(0, end);
    auto segment = is_raw(raw) ? decode(raw) : std::nullopt;
    if (!segment) return refuse("a segment with characters that are not allowed");
    if (segment->empty() || *segment == "." || *segment == "..") return refuse("an empty or relative segment");
    if (segment->size() > kMaxSegmentBytes) return refuse("a segment that is too long");
    out.segments.push_back(std::move(*segment));
    if (out.segments.size() > kMaxPathSegments) return refuse("too many segments");
    if (end == std::string_view::npos) return {};
    path.remove_prefix(end + 1);
  }
}

Result<void> read_query(std::string_view query, RequestPath& out) {
  while (!query.empty()) {
    const auto end = query.find('&');
    const auto pair = query.substr(0, end);
    const auto equals = pair.find('=');
    const auto key = is_raw(pair) ? decode(pair.substr(0, equals)) : std::nullopt;
    const auto value = equals == std::string_view::npos ? std::string() : decode(pair.substr(equals + 1));
    if (!key || key->empty() || !value) return refuse("a query with characters that are not allowed");
    out.query.emplace_back(*key, *value);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
  }
  return {};
}

}  // namespace

Result<RequestPath> parse_request_path(std::string_view target) {
  if (target.size() > kMaxTargetBytes) return refuse("it is too long");
  if (!target.starts_with('/')) return refuse("it does not start with a slash");
  const auto question = target.find('?');
  RequestPath path;
  CR_TRY(read_segments(target.substr(0, question), path));
  if (question != std::string_view::npos) CR_TRY(read_query(target.substr(question + 1), path));
  return path;
}

std::string RequestPath::text() const {
  std::string out;
  for (const auto& segment : segments)
    out += "/" + segment;
  return out;
}

std::string encode_segment(std::string_view segment) {
  std::string out;
  for (const char c : segment) {
    if (is_unreserved(c))
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace cleanroom::gateway
