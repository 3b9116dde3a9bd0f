#pragma once
// Manifests: what a reference means at a registry, down to the manifest for this host's platform.
#include "src/image/limits.h"
#include "src/image/oci_documents.h"
#include "src/registry/registry_session.h"

#include <string>

namespace cleanroom::registry {

struct Resolved {
  model::Digest named;         // what the tag or digest names: an index's digest or a manifest's
  image::Descriptor manifest;  // for this host
  std::string text;            // of the manifest, as its digest has it
};

// One document of the repository, by tag or digest. The bytes agree with the digest asked for and with the one the
// registry says; the type it says is the type the document says. image_invalid, and as RegistrySession::get().
struct Document {
  image::Descriptor descriptor;
  std::string text;
};
base::Result<Document> fetch_document(RegistrySession& session, base::HttpClient& client, const std::string& name,
                                      const image::Limits& limits);

// image_not_found when there is nothing for this platform. Blocks.
base::Result<Resolved> resolve(RegistrySession& session, base::HttpClient& client,
                               const model::ImageReference& reference, const image::Limits& limits);

}  // namespace cleanroom::registry
