#pragma once
// SHA-256 (FIPS 180-4) by libcrypto.
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace cleanroom::base {

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();
  void update(std::span<const std::byte> bytes);
  // 64 lower-case hex digits. The object may not be used afterwards.
  std::string finish_hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256_hex(std::string_view text);

}  // namespace cleanroom::base
