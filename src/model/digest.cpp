#include "src/model/digest.h"

#include "src/base/os/ascii.h"
#include "src/base/os/check.h"

#include <algorithm>

namespace cleanroom::model {
namespace {

constexpr std::string_view kPrefix = "sha256:";
constexpr std::size_t kHexLength = 64;

bool is_lower_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), base::is_ascii_lower_hex);
}

}  // namespace

base::Result<Digest> Digest::parse(std::string_view text) {
  const bool has_prefix = text.substr(0, kPrefix.size()) == kPrefix;
  const std::string_view hex = has_prefix ? text.substr(kPrefix.size()) : std::string_view{};
  if (hex.size() != kHexLength || !is_lower_hex(hex)) {
    return base::fail(
        base::Code::invalid_input, "image_ref_invalid",
        fmt::format("'{}' is not a digest: expected 'sha256:' and 64 lower-case hex digits", text.substr(0, 100)));
  }
  return Digest(std::string(hex));
}

Digest Digest::from_sha256_hex(std::string hex) {
  CR_CHECK(hex.size() == kHexLength && is_lower_hex(hex), "not a SHA-256: {}", hex);
  return Digest(std::move(hex));
}

}  // namespace cleanroom::model
