#include "src/base/net/public_key.h"

#include "src/base/net/base64.h"
#include "src/base/net/libcrypto.h"
#include "src/base/net/sha256.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>

namespace cleanroom::base {
namespace {

constexpr std::string_view kBegin = "-----BEGIN PUBLIC KEY-----";
constexpr std::string_view kEnd = "-----END PUBLIC KEY-----";
constexpr std::string_view kWhiteSpace = " \t\r\n";
constexpr int kMinRsaBits = 2048;
constexpr int kMaxRsaBits = 8192;

struct KeyContextDeleter {
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
struct DigestContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

Failure refuse(std::string_view why) {
  return fail(Error(Code::invalid_input, fmt::format("cannot use public key: {}", why))
                  .with_hint("write its PEM block whole, '-----BEGIN PUBLIC KEY-----' to '-----END PUBLIC KEY-----', a "
                             "line each (in YAML after `|`)"));
}

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kWhiteSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhiteSpace) - first + 1);
}

// The bytes of the one block. Not OpenSSL's reader of PEM, which skips text around a block and decrypts.
Result<std::string> decode_block(std::string_view text) {
  text = trim(text);
  if (text.empty()) return refuse("it is empty");
  if (text.size() > PublicKey::kMaxPemBytes) {
    return refuse(fmt::format("it is longer than {} bytes", PublicKey::kMaxPemBytes));
  }
  if (text.find("PRIVATE KEY-----") != std::string_view::npos) {
    return refuse("it is a private key; only the public half belongs here, and this one may have to be replaced");
  }
  if (text.starts_with("-----BEGIN CERTIFICATE-----")) return refuse("it is a certificate, not a public key");
  if (!text.starts_with(kBegin) || !text.ends_with(kEnd) || text.size() < kBegin.size() + kEnd.size()) {
    return refuse("it is not a PEM block of type PUBLIC KEY");
  }
  text.remove_prefix(kBegin.size());
  text.remove_suffix(kEnd.size());
  if (text.find(kEnd) != std::string_view::npos) return refuse("there is more than one PEM block");
  // Spaces are what a folded YAML scalar makes of line ends: harmless.
  std::string base64;
  std::copy_if(text.begin(), text.end(), std::back_inserter(base64),
               [](char c) { return kWhiteSpace.find(c) == std::string_view::npos; });
  auto der = decode_base64(base64);
  if (!der || der->empty()) return refuse("what stands in its PEM block is not base64");
  return std::string(der->reveal());
}

bool has_explicit_curve(const EVP_PKEY* key) {
  int is_explicit = 0;
  const char* const name = OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS;
  return EVP_PKEY_get_int_param(key, name, &is_explicit) != 1 || is_explicit != 0;
}

// The name of what it is, when it is one of ours.
Result<std::string> judge(const EVP_PKEY* key) {
  if (EVP_PKEY_is_a(key, "ED25519") == 1) return std::string("Ed25519");
  if (EVP_PKEY_is_a(key, "RSA") == 1) {
    const int bits = EVP_PKEY_get_bits(key);
    if (bits >= kMinRsaBits && bits <= kMaxRsaBits) return fmt::format("RSA {}", bits);
    return refuse(fmt::format("it is an RSA key of {} bits; {} to {} are accepted", bits, kMinRsaBits, kMaxRsaBits));
  }
  if (EVP_PKEY_is_a(key, "EC") == 1) {
    std::array<char, 64> name{};
    std::size_t size = 0;
    if (EVP_PKEY_get_group_name(key, name.data(), name.size(), &size) != 1) name.fill('\0');
    const std::string_view curve = name.data();
    // A curve spelled out may share its name and have another generator (CVE-2020-0601).
    if (has_explicit_curve(key)) return refuse("it spells out its curve instead of naming it");
    if (curve == "prime256v1") return std::string("ECDSA P-256");
    if (curve == "secp384r1") return std::string("ECDSA P-384");
    return refuse(fmt::format("its curve is {}; P-256 and P-384 are accepted", curve.empty() ? "unknown" : curve));
  }
  return refuse("it is none of ECDSA (P-256, P-384), RSA, Ed25519");
}

bool is_sound(EVP_PKEY* key) {
  const std::unique_ptr<EVP_PKEY_CTX, KeyContextDeleter> context(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
  return context && EVP_PKEY_public_check(context.get()) == 1;
}

std::string to_der(const EVP_PKEY* key) {
  unsigned char* bytes = nullptr;
  const int size = i2d_PUBKEY(key, &bytes);
  const std::unique_ptr<unsigned char, void (*)(void*)> owner(bytes, [](void* p) { OPENSSL_free(p); });
  return size <= 0 ? std::string() : std::string(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

}  // namespace

PublicKey::PublicKey(std::shared_ptr<evp_pkey_st> key, std::string fingerprint, std::string algorithm)
    : key_(std::move(key)), fingerprint_(std::move(fingerprint)), algorithm_(std::move(algorithm)) {}

Result<PublicKey> PublicKey::parse_pem(std::string_view text) {
  initialise_libcrypto();
  CR_ASSIGN(const std::string der, decode_block(text));
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const auto* const end = at + der.size();
  std::shared_ptr<EVP_PKEY> key(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())), EVP_PKEY_free);
  ERR_clear_error();
  if (!key) return refuse("what stands in its PEM block is not a SubjectPublicKeyInfo");
  if (at != end) return refuse("bytes follow the key in its PEM block");
  CR_ASSIGN(std::string algorithm, judge(key.get()));
  const bool sound = is_sound(key.get());
  ERR_clear_error();
  if (!sound) return refuse("its numbers are not those of a key");
  const std::string canonical = to_der(key.get());
  if (canonical.empty()) return fail(Code::internal, "cannot encode public key");
  return PublicKey(std::move(key), sha256_hex(canonical), std::move(algorithm));
}

Result<std::vector<PublicKey>> PublicKey::parse_pem_list(std::string_view text, std::size_t max_keys) {
  std::vector<PublicKey> keys;
  for (text = trim(text); !text.empty() || keys.empty(); text = trim(text)) {
    if (keys.size() == max_keys) return refuse(fmt::format("there are more than {} of them", max_keys));
    const std::size_t end = text.find(kEnd);
    const std::size_t size = end == std::string_view::npos ? text.size() : end + kEnd.size();
    CR_ASSIGN(auto key, parse_pem(text.substr(0, size)));
    keys.push_back(std::move(key));
    text.remove_prefix(size);
  }
  return keys;
}

bool PublicKey::verify_sha256(std::string_view message, std::string_view signature) const {
  const std::unique_ptr<EVP_MD_CTX, DigestContextDeleter> context(EVP_MD_CTX_new());
  const EVP_MD* const hash = EVP_PKEY_is_a(key_.get(), "ED25519") == 1 ? nullptr : EVP_sha256();
  const bool ready = context && EVP_DigestVerifyInit(context.get(), nullptr, hash, nullptr, key_.get()) == 1;
  // 0 and below alike: not this key's signature.
  const bool good = ready && EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                                              signature.size(), reinterpret_cast<const unsigned char*>(message.data()),
                                              message.size()) == 1;
  ERR_clear_error();
  return good;
}

}  // namespace cleanroom::base
