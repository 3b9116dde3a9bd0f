#include "src/base/net/sha256.h"

#include "src/base/net/libcrypto.h"
#include "src/base/os/check.h"
#include "src/base/os/io.h"

#include <openssl/evp.h>

#include <array>

namespace cleanroom::base {

namespace {

EVP_MD_CTX* new_context() {
  initialise_libcrypto();
  return EVP_MD_CTX_new();
}

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* handle = new_context();
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(handle); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  CR_CHECK(EVP_DigestInit_ex(context_->handle, EVP_sha256(), nullptr) == 1, "libcrypto refuses SHA-256");
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  CR_CHECK(EVP_DigestUpdate(context_->handle, bytes.data(), bytes.size()) == 1, "SHA-256 update");
}

std::string Sha256::finish_hex() {
  std::array<unsigned char, 32> digest{};
  CR_CHECK(EVP_DigestFinal_ex(context_->handle, digest.data(), nullptr) == 1, "SHA-256 final");
  std::string text;
  for (const unsigned char byte : digest)
    text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(as_bytes(text));
  return hash.finish_hex();
}

}  // namespace cleanroom::base
