#pragma once
// ImageProvider: the image that a source names, ready to boot: from the store, from a file, from a local engine, or
// pulled from a registry or its mirrors. What `cleanroom-run` and `cleanroom image` use.
#include "src/image/image_store.h"
#include "src/policy/image_signatures.h"
#include "src/policy/operator_config.h"
#include "src/registry/registry_files.h"

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::registry {

struct ProviderOptions {
  std::vector<policy::RegistryConfig> registries;
  policy::ImagesConfig images;
  std::shared_ptr<LoginSource> logins;                                // null: anonymous
  PullProgress* progress = nullptr;                                   // borrowed
  std::function<void(const std::string&)> note = [](const auto&) {};  // what a person should know: a mirror that failed
};

class ImageProvider {
 public:
  using Demands = std::vector<policy::SignatureDemand>;
  ImageProvider(image::ImageStore store, ProviderOptions options)
      : store_(std::move(store)), options_(std::move(options)) {}

  // A reference with a digest that is here costs a few system calls; one without is asked for at its registry each
  // time, unless an import gave the name. A source that carries no repository cannot meet a demand. Blocks. Reasons:
  // image_ref_invalid, image_not_found, image_invalid, image_limit, image_access_denied, image_pull_failed,
  // image_not_trusted, cancelled.
  base::Result<image::StoredImage> ensure(std::string_view source, const Demands& demands,
                                          const std::stop_token& stop = {});

  struct Pulled {
    image::StoredImage image;
    model::ImageReference reference;  // pinned to what the name means at the registry: an index or a manifest
  };
  // As ensure(), always asking the registry what a tag means; what is pinned and here is not asked for.
  base::Result<Pulled> pull(const model::ImageReference& reference, const Demands& demands,
                            const std::stop_token& stop = {});
  // What a tag means now; nothing is fetched but manifests.
  base::Result<model::Digest> resolve_tag(const model::ImageReference& reference, const std::stop_token& stop = {});

 private:
  using Endpoints = std::vector<Endpoint>;
  template <class Value, class Try>
  base::Result<Value> first_that_works(const model::ImageReference& reference, const Try& attempt);
  base::Result<Pulled> pull_from(const Endpoint& endpoint, const model::ImageReference& reference,
                                 const Demands& demands, const std::stop_token& stop);
  base::Result<void> check_stored(const model::ImageReference& reference, const image::StoredImage& image,
                                  const Demands& demands, const std::stop_token& stop);
  base::Result<image::StoredImage> ensure_from_engine(const image::SourceName& name, std::string_view source,
                                                      const std::stop_token& stop);
  void collect();

  image::ImageStore store_;
  ProviderOptions options_;
};

}  // namespace cleanroom::registry
