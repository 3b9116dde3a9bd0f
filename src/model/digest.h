#pragma once
// Digest: `sha256:` and 64 lower-case hex digits, the only form accepted anywhere (OCI image-spec, descriptor.md).
// Checked once, here, before any path or URL is built from it.
#include "src/base/os/result.h"

#include <compare>
#include <string>
#include <string_view>

namespace cleanroom::model {

class Digest {
 public:
  // invalid_input for another algorithm, upper case, wrong length or other bytes.
  static base::Result<Digest> parse(std::string_view text);
  // `hex` comes from our own hash function.
  static Digest from_sha256_hex(std::string hex);

  const std::string& hex() const { return hex_; }
  std::string to_string() const { return "sha256:" + hex_; }
  auto operator<=>(const Digest&) const = default;

 private:
  explicit Digest(std::string hex) : hex_(std::move(hex)) {}
  std::string hex_;
};

}  // namespace cleanroom::model
