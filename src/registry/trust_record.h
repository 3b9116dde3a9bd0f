#pragma once
// TrustRecord: which images of the store have been found signed, so that a cached image needs no registry. One empty
// file for each (repository, digest, key): <root>/trust/<64 hex over the three>.
#include "src/model/image_reference.h"
#include "src/policy/image_signatures.h"

#include <filesystem>
#include <string>
#include <vector>

namespace cleanroom::registry {

class TrustRecord {
 public:
  explicit TrustRecord(const std::filesystem::path& image_root) : directory_(image_root / "trust") {}
  // `image` is pinned.
  bool meets(const model::ImageReference& image, const policy::SignatureDemand& demand) const;
  base::Result<void> add(const model::ImageReference& image, const std::string& key_fingerprint) const;

 private:
  std::filesystem::path file(const model::ImageReference& image, const std::string& key_fingerprint) const;
  std::filesystem::path directory_;
};

}  // namespace cleanroom::registry
