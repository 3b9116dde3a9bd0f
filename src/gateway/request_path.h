#pragma once
// The target of a gateway request: `/git/github.com/acme/web/info/refs?service=git-upload-pack`, cut into segments.
//
// Decoded once, segment by segment, and refused (invalid_input, `gateway_request_invalid`) where two readers could see
// different paths: empty, `.` and `..` segments, an encoded slash, backslash, control characters, bytes outside ASCII,
// `%` or `;` after decoding, a fragment. So a path that was accepted has one spelling, text().
#include "src/base/os/result.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cleanroom::gateway {

struct RequestPath {
  std::vector<std::string> segments;                       // decoded; at least one
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order
  std::string text() const;                                // "/git/github.com/acme/web"
};

base::Result<RequestPath> parse_request_path(std::string_view target);

// `segment` as it goes into a request target (RFC 3986 section 3.3): unreserved characters stay.
std::string encode_segment(std::string_view segment);

}  // namespace cleanroom::gateway
