#pragma once
// GMAC (NIST SP 800-38D) with AES-128, by libcrypto: a keyed digest that runs at some GB/s on processors with AES and
// carry-less multiplication, four times as fast as SHA-256. With a key of its own, a text that was damaged or swapped
// has the same tag with probability 2^-100 or less; whoever knows the key can make texts for a tag.
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace cleanroom::base {

using GmacKey = std::array<std::byte, 16>;

class Gmac {
 public:
  // A key is for one text (and for looking at that text again).
  explicit Gmac(const GmacKey& key);
  ~Gmac();
  void update(std::span<const std::byte> bytes);
  // 32 lower-case hex digits. The object may not be used afterwards.
  std::string finish_hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace cleanroom::base
