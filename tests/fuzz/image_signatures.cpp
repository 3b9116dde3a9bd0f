// What a registry answers for an image's signatures, and keys of a repository's policy. What holds: a manifest gives no
// more signatures, and none larger, than the limits; a payload that passes says this image's digest, type and
// repository to another reading of it, however it is spelled; a key that is accepted in one block is the same in a
// list.
#include "src/base/text/json.h"
#include "src/registry/cosign.h"
#include "tests/fuzz/support.h"

#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <memory>

namespace {

using namespace cleanroom;

struct Signer {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> secret{EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"),
                                                             EVP_PKEY_free};
  std::vector<base::PublicKey> keys;

  Signer() {
    const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    FUZZ_CHECK(PEM_write_bio_PUBKEY(bio.get(), secret.get()) == 1);
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    keys.push_back(base::PublicKey::parse_pem({text, static_cast<std::size_t>(size)}).value());
  }
  std::string sign(std::string_view payload) const {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    std::string out(64, '\0');
    std::size_t size = out.size();
    FUZZ_CHECK(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, secret.get()) == 1);
    FUZZ_CHECK(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &size,
                              reinterpret_cast<const unsigned char*>(payload.data()), payload.size()) == 1);
    return out;
  }
};

void check_manifest(std::string_view text) {
  const auto layers = registry::parse_signature_manifest(text);
  if (!layers) return;
  FUZZ_CHECK(layers->size() <= registry::kMaxSignatures);
  for (const auto& layer : *layers) {
    FUZZ_CHECK(layer.size > 0 && layer.size <= registry::kMaxSignaturePayloadBytes);
    FUZZ_CHECK(!layer.signature.empty() && layer.signature.size() <= base::PublicKey::kMaxPemBytes);
    FUZZ_CHECK(layer.digest.hex().size() == 64);
  }
}

void check_payload(std::string_view payload) {
  static const Signer signer;
  static const auto image =
      model::ImageReference::parse("docker.io/library/debian@sha256:" + std::string(64, 'a')).value();
  const std::string signature = signer.sign(payload);
  const auto verified = registry::verify_signature(payload, signature, signer.keys, image);
  if (!verified) return;
  FUZZ_CHECK(*verified == &signer.keys.front());
  const auto critical = base::Json::parse(payload).at("critical");
  FUZZ_CHECK(critical.at("type") == "cosign container image signature");
  FUZZ_CHECK(critical.at("image").at("docker-manifest-digest") == image.digest()->to_string());
  const std::string name = critical.at("identity").at("docker-reference");
  FUZZ_CHECK(name.find("debian") != std::string::npos);
  std::string changed(payload);
  changed += ' ';
  FUZZ_CHECK(!registry::verify_signature(changed, signature, signer.keys, image));
}

void check_keys(std::string_view text) {
  const auto key = base::PublicKey::parse_pem(text);
  const auto list = base::PublicKey::parse_pem_list(text, 8);
  if (!key) return;
  FUZZ_CHECK(list && list->size() == 1 && list->front() == *key);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const auto text = cleanroom::fuzz::as_text(bytes, size);
  check_manifest(text);
  check_payload(text);
  check_keys(text);
  return 0;
}
