#include "src/base/net/base64.h"

#include "src/base/os/check.h"

#include <openssl/evp.h>

#include <limits>

namespace cleanroom::base {

void append_base64(std::string& into, std::string_view bytes) {
  const std::size_t before = into.size();
  const std::size_t size = base64_size(bytes.size());
  into.resize(before + size + 1);  // EVP_EncodeBlock() ends with a NUL
  const int written =
      ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(into.data() + before),
                        reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  CR_CHECK(written == static_cast<int>(size), "{} bytes", written);
  into.resize(before + size);
}

std::optional<Secret> decode_base64(std::string_view text) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  // EVP_DecodeBlock() passes over blanks at the ends, and takes `=` for a digit.
  const auto digits = text.substr(0, text.size() - padding);
  const bool sized = text.size() % 4 == 0 && text.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max());
  if (!sized || digits.find_first_not_of(kAlphabet) != std::string_view::npos) return std::nullopt;
  if (text.empty()) return Secret();
  // The bits of the last digit that stand for nothing are zero: one spelling for each value.
  const std::size_t last = kAlphabet.find(digits.back());
  if (padding > 0 && (last & (padding == 1 ? 3 : 15)) != 0) return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int written =
      ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                        reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (written == static_cast<int>(bytes.size())) {
    bytes.resize(bytes.size() - padding);
    return Secret(std::move(bytes));
  }
  wipe(bytes);
  return std::nullopt;
}

}  // namespace cleanroom::base
