#include "src/base/net/gmac.h"

#include "src/base/net/libcrypto.h"
#include "src/base/os/check.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

namespace cleanroom::base {

namespace {

EVP_MAC* fetch_algorithm() {
  initialise_libcrypto();
  return EVP_MAC_fetch(nullptr, "GMAC", nullptr);
}

}  // namespace

struct Gmac::Context {
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    EVP_MAC_CTX_free(handle);
    EVP_MAC_free(algorithm);
  }
  EVP_MAC* algorithm = fetch_algorithm();
  EVP_MAC_CTX* handle = algorithm != nullptr ? EVP_MAC_CTX_new(algorithm) : nullptr;
};

Gmac::Gmac(const GmacKey& key) : context_(std::make_unique<Context>()) {
  std::string cipher = "AES-128-GCM";
  std::array<unsigned char, 12> nonce{};  // the key is not used for a second text
  const std::array<OSSL_PARAM, 3> parameters = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher.data(), cipher.size()),
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, nonce.data(), nonce.size()), OSSL_PARAM_construct_end()};
  const auto* bytes = reinterpret_cast<const unsigned char*>(key.data());
  CR_CHECK(context_->handle != nullptr && EVP_MAC_init(context_->handle, bytes, key.size(), parameters.data()) == 1,
           "libcrypto refuses GMAC");
}
Gmac::~Gmac() = default;

void Gmac::update(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  CR_CHECK(EVP_MAC_update(context_->handle, data, bytes.size()) == 1, "GMAC update");
}

std::string Gmac::finish_hex() {
  std::array<unsigned char, 16> tag{};
  std::size_t size = 0;
  CR_CHECK(EVP_MAC_final(context_->handle, tag.data(), &size, tag.size()) == 1 && size == tag.size(), "GMAC final");
  std::string text;
  for (const unsigned char byte : tag)
    text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace cleanroom::base
