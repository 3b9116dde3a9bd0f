#pragma once
// PublicKey: a key that signatures are checked with, by libcrypto. Accepted: ECDSA on P-256 and P-384, RSA of 2048 to
// 8192 bits (PKCS #1 v1.5), Ed25519, each as one PEM block of type PUBLIC KEY (RFC 7468 section 13).
#include "src/base/os/result.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct evp_pkey_st;

namespace cleanroom::base {

// Immutable and cheap to copy (shared).
class PublicKey {
 public:
  static constexpr std::size_t kMaxPemBytes = 16 * 1024;

  // invalid_input for anything else: another kind of block (a private key above all), text around it, another
  // algorithm or curve, a short key, a point that is not on the curve. Messages repeat nothing of the text.
  static Result<PublicKey> parse_pem(std::string_view text);
  // One or more blocks with nothing but white space around them; invalid_input for none, or more than `max_keys`.
  static Result<std::vector<PublicKey>> parse_pem_list(std::string_view text, std::size_t max_keys);

  // sha256 of the DER SubjectPublicKeyInfo in hex: equal for equal keys, however they were written.
  const std::string& fingerprint() const { return fingerprint_; }
  const std::string& algorithm() const { return algorithm_; }  // for people: "ECDSA P-256", "RSA 3072", "Ed25519"

  // Whether `signature` is this key's over `message`: over its SHA-256 for ECDSA (DER) and RSA (PKCS #1 v1.5), over the
  // message itself for Ed25519, which hashes on its own.
  bool verify_sha256(std::string_view message, std::string_view signature) const;

  bool operator==(const PublicKey& other) const { return fingerprint_ == other.fingerprint_; }

 private:
  PublicKey(std::shared_ptr<evp_pkey_st> key, std::string fingerprint, std::string algorithm);
  std::shared_ptr<evp_pkey_st> key_;
  std::string fingerprint_;
  std::string algorithm_;
};

}  // namespace cleanroom::base
