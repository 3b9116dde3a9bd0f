#include "src/registry/signature_fetch.h"

#include "src/registry/cosign.h"

#include <algorithm>

namespace cleanroom::registry {
namespace {

using base::Result;

// Adds the signatures over one digest, until the check is met. A repository without any is no error here.
Result<void> collect(RegistrySession& session, base::HttpClient& client, const model::Digest& digest,
                     const image::Limits& limits, SignatureCheck& check) {
  const auto manifest = fetch_document(session, client, signature_tag(digest), limits);
  if (!manifest && manifest.error().reason == "image_not_found") return {};
  if (!manifest) return base::fail(manifest.error());
  CR_ASSIGN(const auto layers, parse_signature_manifest(manifest->text));
  for (const SignatureLayer& layer : layers) {
    const RegistrySession::Request request{.path = "blobs/" + layer.digest.to_string(),
                                           .max_body = kMaxSignaturePayloadBytes};
    CR_ASSIGN(const base::HttpResponse payload, session.get_retrying(client, request));
    check.add(layer, payload.body);
    if (check.met()) break;
  }
  return {};
}

}  // namespace

Result<void> require_signatures(RegistrySession& session, base::HttpClient& client, const model::ImageReference& image,
                                const Resolved& resolved, const std::vector<policy::SignatureDemand>& demands,
                                const TrustRecord& record, const image::Limits& limits) {
  std::vector<policy::SignatureDemand> open;
  std::copy_if(demands.begin(), demands.end(), std::back_inserter(open),
               [&](const policy::SignatureDemand& demand) { return !record.meets(image, demand); });
  if (open.empty()) return {};
  Result<std::vector<std::string>> met = std::vector<std::string>{};
  std::vector<model::Digest> digests{resolved.named};
  if (resolved.manifest.digest != resolved.named) digests.push_back(resolved.manifest.digest);
  for (const model::Digest& digest : digests) {
    SignatureCheck check(image.with_digest(digest), open);
    CR_TRY(collect(session, client, digest, limits, check));
    met = check.finish();
    if (met) break;
  }
  if (!met) return base::fail(met.error());
  for (const std::string& fingerprint : *met)
    CR_TRY(record.add(image, fingerprint));
  return {};
}

}  // namespace cleanroom::registry
