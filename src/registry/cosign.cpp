#include "src/registry/cosign.h"

#include "src/base/net/base64.h"
#include "src/base/net/sha256.h"
#include "src/base/text/diagnostic.h"
#include "src/base/text/json.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace cleanroom::registry {
namespace {

using base::Json;

constexpr std::string_view kLayerType = "application/vnd.dev.cosign.simplesigning.v1+json";
constexpr const char* kAnnotation = "dev.cosignproject.cosign/signature";
constexpr std::string_view kPayloadType = "cosign container image signature";
constexpr std::size_t kMaxSignatureText = base::base64_size(base::PublicKey::kMaxPemBytes);
// With COSIGN_DOCKER_MEDIA_TYPES=1 cosign writes the second.
constexpr std::string_view kManifestTypes[] = {"application/vnd.oci.image.manifest.v1+json",
                                               "application/vnd.docker.distribution.manifest.v2+json"};

base::Error not_trusted(std::string message) {
  return {base::Code::policy_denied, "image_not_trusted", std::move(message)};
}

base::Failure bad_manifest(std::string_view why) {
  return base::fail(
      not_trusted(fmt::format("cannot read the image's signatures: {}", why))
          .with_hint("remove the tag sha256-<hex>.sig from the registry and sign again: cosign sign --key"));
}

base::Failure bad_signature(std::string_view why) {
  return base::fail(not_trusted(fmt::format("cannot use signature: {}", why)));
}

// nullptr where `value` is no object or lacks the member.
const Json* member(const Json* value, const char* name) {
  if (value == nullptr || !value->is_object()) return nullptr;
  const auto found = value->find(name);
  return found == value->end() ? nullptr : &*found;
}

std::optional<std::string> text_of(const Json* value) {
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return value->get<std::string>();
}

base::Result<SignatureLayer> parse_layer(const Json& layer) {
  const auto digest_text = text_of(member(&layer, "digest"));
  auto digest = model::Digest::parse(digest_text.value_or(""));
  if (!digest) return bad_manifest("a signature's layer has no usable digest");
  const Json* size = member(&layer, "size");
  if (size == nullptr || !size->is_number_unsigned()) return bad_manifest("a signature's layer has no size");
  const auto bytes = size->get<std::uint64_t>();
  if (bytes == 0 || bytes > kMaxSignaturePayloadBytes) {
    return bad_manifest(
        fmt::format("a signature's payload is {} bytes, {} are allowed", bytes, kMaxSignaturePayloadBytes));
  }
  const auto text = text_of(member(member(&layer, "annotations"), kAnnotation));
  if (!text || text->empty()) return bad_manifest(fmt::format("a layer lacks the annotation {}", kAnnotation));
  if (text->size() > kMaxSignatureText) return bad_manifest("a signature is too long");
  auto signature = base::decode_base64(*text);
  if (!signature) return bad_manifest("a signature is not base64");
  return SignatureLayer{std::move(*digest), bytes, std::string(signature->reveal())};
}

// What the signed payload is about, against what it has to be about.
base::Result<void> check_payload(std::string_view payload, const model::ImageReference& image) {
  if (payload.size() > kMaxSignaturePayloadBytes) return bad_signature("its payload is too long");
  auto parsed = base::parse_json(payload, "payload", {.max_bytes = kMaxSignaturePayloadBytes});
  if (!parsed) return bad_signature(parsed.error().message);
  const Json* critical = member(&*parsed, "critical");
  const auto type = text_of(member(critical, "type"));
  if (type != kPayloadType) {
    return bad_signature(fmt::format("its type is {}, not '{}'", base::quote_text(type.value_or("")), kPayloadType));
  }
  const auto digest = text_of(member(member(critical, "image"), "docker-manifest-digest"));
  if (digest != image.digest()->to_string()) {
    return bad_signature(fmt::format("it is for the image {}", base::quote_text(digest.value_or(""))));
  }
  const auto name = text_of(member(member(critical, "identity"), "docker-reference"));
  // It may carry a tag, which is not this image's to keep; a digest is.
  const auto signed_name = model::ImageReference::parse(name.value_or(""));
  const bool same = signed_name && signed_name->registry() == image.registry() &&
                    signed_name->repository() == image.repository() &&
                    (!signed_name->digest() || signed_name->digest() == image.digest());
  if (!same) return bad_signature(fmt::format("it is for the repository {}", base::quote_text(name.value_or(""), 300)));
  return {};
}

}  // namespace

std::string signature_tag(const model::Digest& digest) {
  return "sha256-" + digest.hex() + ".sig";
}

base::Result<std::vector<SignatureLayer>> parse_signature_manifest(std::string_view text) {
  const auto parsed = base::parse_json(text, "manifest", {.max_bytes = kMaxSignatureManifestBytes});
  if (!parsed) return bad_manifest(parsed.error().message);
  const Json* version = member(&*parsed, "schemaVersion");
  if (version == nullptr || *version != 2) return bad_manifest("the tag holds no image manifest of schema 2");
  const Json* type = member(&*parsed, "mediaType");
  const bool known = type == nullptr || std::find(std::begin(kManifestTypes), std::end(kManifestTypes),
                                                  text_of(type)) != std::end(kManifestTypes);
  const Json* layers = member(&*parsed, "layers");
  // A document that is two things at once is neither (CVE-2021-41190).
  if (!known || member(&*parsed, "manifests") != nullptr || layers == nullptr || !layers->is_array()) {
    return bad_manifest("the tag holds no image manifest");
  }
  std::vector<SignatureLayer> out;
  for (auto layer = layers->rbegin(); layer != layers->rend() && out.size() < kMaxSignatures; ++layer) {
    if (text_of(member(&*layer, "mediaType")) != kLayerType) continue;
    CR_ASSIGN(auto signature, parse_layer(*layer));
    out.push_back(std::move(signature));
  }
  return out;
}

base::Result<const base::PublicKey*> verify_signature(std::string_view payload, std::string_view signature,
                                                      const std::vector<base::PublicKey>& keys,
                                                      const model::ImageReference& image) {
  if (!image.pinned()) return bad_signature("the image that it should be for has no digest");
  // The signature first: what nobody signed is not worth parsing.
  const auto signer = std::find_if(keys.begin(), keys.end(), [&](const base::PublicKey& key) {
    return payload.size() <= kMaxSignaturePayloadBytes && key.verify_sha256(payload, signature);
  });
  if (signer == keys.end()) return bad_signature("it is of none of the keys, or not over this payload");
  CR_TRY(check_payload(payload, image));
  return &*signer;
}

SignatureCheck::SignatureCheck(model::ImageReference image, std::vector<policy::SignatureDemand> demands)
    : image_(std::move(image)), demands_(std::move(demands)), met_by_(demands_.size()) {}

void SignatureCheck::add(const SignatureLayer& layer, std::string_view payload) {
  if (seen_ == kMaxSignatures) return;
  ++seen_;
  if (payload.size() != layer.size || base::sha256_hex(payload) != layer.digest.hex()) {
    last_refusal_ = "cannot use signature: its payload is not what the manifest lists";
    return;
  }
  for (std::size_t i = 0; i < demands_.size(); ++i) {
    if (met_by_[i]) continue;
    const auto signer = verify_signature(payload, layer.signature, demands_[i].keys, image_);
    if (signer) {
      met_by_[i] = (*signer)->fingerprint();
    } else {
      last_refusal_ = signer.error().message;
    }
  }
}

bool SignatureCheck::met() const {
  return std::all_of(met_by_.begin(), met_by_.end(), [](const auto& key) { return key.has_value(); });
}

base::Result<std::vector<std::string>> SignatureCheck::finish() const {
  std::vector<std::string> signers;
  std::string unmet;
  for (std::size_t i = 0; i < demands_.size(); ++i) {
    if (met_by_[i]) {
      signers.push_back(*met_by_[i]);
      continue;
    }
    unmet += unmet.empty() ? "" : ", ";
    unmet += fmt::format("{} ({} key{}: sha256:{}{})", demands_[i].key_path, demands_[i].keys.size(),
                         demands_[i].keys.size() == 1 ? "" : "s", demands_[i].keys.front().fingerprint().substr(0, 16),
                         demands_[i].keys.size() == 1 ? "..." : "..., ...");
  }
  if (unmet.empty()) return signers;
  const std::string found = seen_ == 0 ? "it has no signature"
                                       : fmt::format("none of its {} signature{} will do; the last: {}", seen_,
                                                     seen_ == 1 ? "" : "s", last_refusal_);
  return base::fail(
      not_trusted(fmt::format("cannot trust image '{}': {}, and {} demands one", image_.to_string(), found, unmet))
          .with_hint(fmt::format(
              "sign it: cosign sign --key KEY {}/{}@{} (cosign 3: --new-bundle-format=false); or correct the "
              "keys",
              image_.registry(), image_.repository(), image_.digest() ? image_.digest()->to_string() : "sha256:...")));
}

}  // namespace cleanroom::registry
