#include "src/registry/registry_files.h"

#include "src/image/image_error.h"
#include "src/image/image_source.h"

#include <algorithm>

namespace cleanroom::registry {
namespace {

using base::Result;

class TextReader final : public image::FileReader {
 public:
  explicit TextReader(std::string text) : text_(std::move(text)) {}
  std::uint64_t size() const override { return text_.size(); }
  Result<std::size_t> read(std::span<std::byte> into) override {
    const auto rest = std::as_bytes(std::span(text_)).subspan(at_);
    const std::size_t n = std::min(into.size(), rest.size());
    std::copy_n(rest.begin(), n, into.begin());
    at_ += n;
    return n;
  }

 private:
  std::string text_;
  std::size_t at_ = 0;
};

BlobRequest request_of(const image::Descriptor& descriptor) {
  return {descriptor.digest, descriptor.size};
}

}  // namespace

Result<std::unique_ptr<RegistryFiles>> RegistryFiles::create(RegistrySession& session, const Resolved& image,
                                                             const image::Limits& limits, Options options) {
  CR_ASSIGN(const image::Manifest manifest, image::parse_manifest(image.text, image.manifest.media_type, limits));
  std::unique_ptr<RegistryFiles> files(new RegistryFiles(session, limits, options));
  files->manifest_name_ = image::blob_name(image.manifest.digest);
  files->manifest_ = image.text;
  files->small_.emplace(image::blob_name(manifest.config.digest), request_of(manifest.config));
  for (const image::Descriptor& layer : manifest.layers)
    files->layers_.emplace(image::blob_name(layer.digest), request_of(layer));
  return files;
}

void RegistryFiles::expect(const std::vector<std::string>& names) const {
  std::vector<BlobRequest> wanted;
  std::uint64_t bytes = 0;
  for (const std::string& name : names) {
    const auto found = layers_.find(name);
    if (found == layers_.end()) continue;
    wanted.push_back(found->second);
    bytes += found->second.size;
  }
  PullProgress* const progress = options_.progress;
  if (progress) progress->begin(bytes, wanted.size(), layers_.size() - std::min(layers_.size(), wanted.size()));
  BlobDownloads::Options options{.parallel = options_.parallel};
  if (progress) options.received = [progress](std::uint64_t n) { progress->received(n); };
  downloads_ = std::make_unique<BlobDownloads>(session_, std::move(wanted), std::move(options));
}

Result<std::unique_ptr<image::FileReader>> RegistryFiles::open(const std::string& name) const {
  if (name == manifest_name_) return std::make_unique<TextReader>(manifest_);
  if (const auto found = small_.find(name); found != small_.end()) {
    base::HttpClient client;
    const RegistrySession::Request request{.path = "blobs/" + found->second.digest.to_string(),
                                           .max_body = limits_.document_bytes};
    CR_ASSIGN(base::HttpResponse response, session_.get_retrying(client, request));
    return std::make_unique<TextReader>(std::move(response.body));
  }
  const auto found = layers_.find(name);
  auto reader = found == layers_.end() || !downloads_ ? nullptr : downloads_->open(found->second.digest);
  if (!reader) return image::image_invalid(fmt::format("the image has no '{}'", image::shown(name)));
  return reader;
}

}  // namespace cleanroom::registry
