#include "src/git_gateway/object_id.h"

namespace cleanroom::git_gateway {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

}  // namespace

std::optional<ObjectId> ObjectId::parse(std::string_view text) {
  if (text.size() != kHexSize) return std::nullopt;
  ObjectId id;
  for (std::size_t i = 0; i < kHexSize; ++i) {
    const auto digit = kDigits.find(text[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    auto& byte = id.bytes[i / 2];
    byte = static_cast<std::uint8_t>(unsigned{byte} << 4U | digit);
  }
  return id;
}

std::string ObjectId::hex() const {
  std::string text;
  text.reserve(kHexSize);
  for (const auto byte : bytes) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

}  // namespace cleanroom::git_gateway
