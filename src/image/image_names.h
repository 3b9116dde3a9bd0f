#pragma once
// What images of a store are called.
//   <root>/aliases/<64 hex of an index>: the digest of the manifest that it has for this host. Never changes.
//   <root>/known/<64 hex over registry/repository@digest>: the manifest's digest. That repository has had this image,
//   for a
//     job or person who may read it; an image that was imported is so known by its digest alone, under any name.
//   <root>/names/<64 hex over the reference>: {"reference", "digest", "imported"}: a name given at an import or a pull.
#include "src/base/os/result.h"
#include "src/model/digest.h"
#include "src/model/image_reference.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::image {

class ImageNames {
 public:
  explicit ImageNames(std::filesystem::path root) : root_(std::move(root)) {}

  base::Result<void> set_alias(const model::Digest& index, const model::Digest& manifest) const;
  std::optional<model::Digest> alias(const model::Digest& index) const;

  enum class Origin { import, registry };
  // `reference` without a digest. A name that is there already moves.
  base::Result<void> set_name(const model::ImageReference& reference, const model::Digest& manifest,
                              Origin origin) const;
  struct Named {
    model::Digest digest;
    Origin origin = Origin::registry;
  };
  std::optional<Named> named(const model::ImageReference& reference) const;
  base::Result<void> remove_name(const model::ImageReference& reference) const;

  // `image` is pinned.
  base::Result<void> set_known(const model::ImageReference& image, const model::Digest& manifest) const;
  base::Result<void> set_imported(const model::Digest& manifest) const;
  bool is_known(const model::ImageReference& image, const model::Digest& manifest) const;

  // Every name, by the digest that it means.
  std::map<model::Digest, std::vector<std::string>> all() const;
  // Drops all that is said of an image that is gone.
  void forget(const model::Digest& manifest) const;

 private:
  base::Result<void> write_known(const std::string& what, const model::Digest& manifest) const;
  std::filesystem::path root_;
};

}  // namespace cleanroom::image
