#pragma once
// Signatures of images as `cosign sign --key` leaves them next to an image ("simple signing"): no network, no clock.
//
// The signatures of the image with the digest sha256:<hex> are an image of the same repository with the tag
// sha256-<hex>.sig. Each of its layers is a payload: JSON that names the image's digest and its repository. An
// annotation of the layer holds the signature over the payload's bytes. A registry can withhold signatures, and hold
// anything else under that tag; it cannot make one. Not read: certificates, transparency logs, cosign's bundles.
//
// What fails here fails with image_not_trusted.
#include "src/base/net/public_key.h"
#include "src/base/os/result.h"
#include "src/model/digest.h"
#include "src/model/image_reference.h"
#include "src/policy/image_signatures.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::registry {

inline constexpr std::size_t kMaxSignatureManifestBytes = 4 * 1024 * 1024;
inline constexpr std::size_t kMaxSignaturePayloadBytes = 64 * 1024;
inline constexpr std::size_t kMaxSignatures = 32;  // of one image that are looked at

// The tag that the signatures of `digest` have.
std::string signature_tag(const model::Digest& digest);

struct SignatureLayer {
  model::Digest digest;    // of the payload
  std::uint64_t size = 0;  // of the payload in bytes, at most kMaxSignaturePayloadBytes
  std::string signature;   // decoded
};

// The signatures that the manifest lists, the newest first (cosign adds at the end), the newest kMaxSignatures at most.
// Layers of other media types are passed over; a signature that is not well-formed refuses the manifest. `text` is what
// was fetched by tag: nothing vouches for it.
base::Result<std::vector<SignatureLayer>> parse_signature_manifest(std::string_view text);

// The first of `keys` whose signature over `payload` this is, once the payload says that it is about `image`: its
// digest, its registry and repository. A pointer into `keys`.
base::Result<const base::PublicKey*> verify_signature(std::string_view payload, std::string_view signature,
                                                      const std::vector<base::PublicKey>& keys,
                                                      const model::ImageReference& image);

// Collects signatures of one image until every demand is met:
//   fetch signature_tag(digest); no such tag: finish()
//   for each of parse_signature_manifest(): fetch the layer, add(); stop once met()
//   finish()
class SignatureCheck {
 public:
  // `image` is pinned: its digest is what has to be signed, its name the one that it goes by (not a mirror's).
  SignatureCheck(model::ImageReference image, std::vector<policy::SignatureDemand> demands);

  // A payload that is not what its layer says, or is no signature of ours, counts for nothing; finish() says why.
  void add(const SignatureLayer& layer, std::string_view payload);
  bool met() const;
  // For each demand the fingerprint of the key that met it; the error names each demand that is not met.
  base::Result<std::vector<std::string>> finish() const;

 private:
  model::ImageReference image_;
  std::vector<policy::SignatureDemand> demands_;
  std::vector<std::optional<std::string>> met_by_;  // a fingerprint for each demand
  std::size_t seen_ = 0;
  std::string last_refusal_;
};

}  // namespace cleanroom::registry
