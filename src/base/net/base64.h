#pragma once
// Base64 (RFC 4648 section 4) by libcrypto.
#include "src/base/os/secret.h"

#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::base {

// Appends the encoded bytes with padding. Nothing else of them stays in memory when `into` has room for
// base64_size(bytes.size()) + 1 more characters beforehand.
void append_base64(std::string& into, std::string_view bytes);
constexpr std::size_t base64_size(std::size_t bytes) {
  return (bytes + 2) / 3 * 4;
}

// Strict: padded, no blanks, unused bits zero; else nullopt. A Secret, because what somebody encoded so mostly is one.
std::optional<Secret> decode_base64(std::string_view text);

}  // namespace cleanroom::base
