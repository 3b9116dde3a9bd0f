#include "src/image/oci_documents.h"

#include "src/base/text/json.h"
#include "src/image/image_error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace cleanroom::image {
namespace {

using base::Json;
using base::Result;

constexpr std::size_t kMaxDescriptors = 1024;  // of an index: a bound against amplification
constexpr std::uint64_t kMaxBlobBytes = 1ull << 40;
constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
constexpr std::string_view kDockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::array<std::string_view, 2> kConfigTypes = {"application/vnd.oci.image.config.v1+json",
                                                          "application/vnd.docker.container.image.v1+json"};

struct LayerType {
  std::string_view media_type;
  Compression compression;
};
constexpr std::array kLayerTypes = {
    LayerType{"application/vnd.oci.image.layer.v1.tar", Compression::none},
    LayerType{"application/vnd.oci.image.layer.v1.tar+gzip", Compression::gzip},
    LayerType{"application/vnd.oci.image.layer.v1.tar+zstd", Compression::zstd},
    LayerType{"application/vnd.docker.image.rootfs.diff.tar", Compression::none},
    LayerType{"application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::gzip},
    LayerType{"application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::zstd},
};

Result<Json> parse_object(std::string_view text, std::string_view name) {
  auto json = base::parse_json(text, name, {.max_bytes = 4u << 20});
  if (!json) return image_invalid(json.error().describe());
  if (!json->is_object()) return image_invalid(fmt::format("the {} is not a JSON object", name));
  return json;
}

const Json* member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// Empty when missing.
Result<std::string> text_of(const Json& object, const char* key) {
  const Json* value = member(object, key);
  if (!value) return std::string();
  if (!value->is_string()) return image_invalid(fmt::format("'{}' is not a string", key));
  const auto& text = value->get_ref<const std::string&>();
  if (text.find('\0') != std::string::npos) return image_invalid(fmt::format("'{}' holds a NUL", key));
  return text;
}

Result<std::vector<std::string>> texts_of(const Json& object, const char* key) {
  std::vector<std::string> texts;
  const Json* value = member(object, key);
  if (!value) return texts;
  if (!value->is_array()) return image_invalid(fmt::format("'{}' is not an array", key));
  for (const Json& item : *value) {
    if (!item.is_string()) return image_invalid(fmt::format("'{}' holds something that is not a string", key));
    texts.push_back(item.get<std::string>());
    if (texts.back().find('\0') != std::string::npos) return image_invalid(fmt::format("'{}' holds a NUL", key));
  }
  return texts;
}

Result<model::Digest> document_digest_of(const std::string& text) {
  auto digest = model::Digest::parse(text);
  if (!digest) return image_invalid(shown(digest.error().message));
  return digest;
}

Result<void> read_platform(const Json& json, Descriptor& descriptor) {
  const Json* platform = member(json, "platform");
  if (!platform) return {};
  if (!platform->is_object()) return image_invalid("'platform' is not an object");
  CR_ASSIGN(const std::string os, text_of(*platform, "os"));
  CR_ASSIGN(const std::string architecture, text_of(*platform, "architecture"));
  CR_ASSIGN(descriptor.variant, text_of(*platform, "variant"));
  descriptor.platform = os + "/" + architecture;
  return {};
}

Result<Descriptor> parse_descriptor(const Json& json) {
  if (!json.is_object()) return image_invalid("a descriptor is not an object");
  CR_ASSIGN(std::string media_type, text_of(json, "mediaType"));
  CR_ASSIGN(const std::string digest_text, text_of(json, "digest"));
  CR_ASSIGN(model::Digest digest, document_digest_of(digest_text));
  const Json* size = member(json, "size");
  if (!size || !size->is_number_unsigned() || size->get<std::uint64_t>() > kMaxBlobBytes) {
    return image_invalid(fmt::format("the descriptor of {} has no usable size", digest.to_string()));
  }
  Descriptor descriptor{std::move(media_type), std::move(digest), size->get<std::uint64_t>(), {}, {}, {}};
  CR_TRY(read_platform(json, descriptor));
  if (const Json* annotations = member(json, "annotations")) {
    if (!annotations->is_object()) return image_invalid("'annotations' is not an object");
    CR_ASSIGN(descriptor.reference, text_of(*annotations, "org.opencontainers.image.ref.name"));
  }
  return descriptor;
}

Result<std::vector<Descriptor>> descriptors_of(const Json& object, const char* key, std::size_t limit) {
  const Json* list = member(object, key);
  if (!list || !list->is_array()) return image_invalid(fmt::format("'{}' is not an array", key));
  if (list->size() > limit)
    return image_limit(fmt::format("'{}' has {} entries, the limit is {}", key, list->size(), limit));
  std::vector<Descriptor> descriptors;
  for (const Json& item : *list) {
    CR_ASSIGN(Descriptor descriptor, parse_descriptor(item));
    descriptors.push_back(std::move(descriptor));
  }
  return descriptors;
}

Result<void> check_shape(const Json& json, std::string_view media_type, std::initializer_list<const char*> foreign) {
  const Json* version = member(json, "schemaVersion");
  if (!version || !version->is_number_integer() || version->get<std::int64_t>() != 2) {
    return image_invalid("'schemaVersion' is not 2 (images of schema 1 are not supported)");
  }
  CR_ASSIGN(const std::string own_type, text_of(json, "mediaType"));
  if (!own_type.empty() && !media_type.empty() && own_type != media_type) {
    return image_invalid(
        fmt::format("a document is '{}' by itself and '{}' by its descriptor", shown(own_type), shown(media_type)));
  }
  for (const char* key : foreign) {
    if (json.contains(key))
      return image_invalid(fmt::format("a document of type '{}' has '{}' too", shown(media_type), key));
  }
  return {};
}

}  // namespace

std::string_view host_platform() {
#if defined(__x86_64__)
  return "linux/amd64";
#elif defined(__aarch64__)
  return "linux/arm64";
#else
#error "add the OCI name of this architecture"
#endif
}

bool is_baseline_variant(std::string_view variant) {
  return variant.empty() || variant == (host_platform() == "linux/arm64" ? "v8" : "v1");
}

std::optional<DocumentKind> kind_of_document(std::string_view media_type) {
  if (media_type == kOciIndex || media_type == kDockerIndex) return DocumentKind::index;
  if (media_type == kOciManifest || media_type == kDockerManifest) return DocumentKind::manifest;
  return std::nullopt;
}

std::string accept_header() {
  return fmt::format("Accept: {}, {}, {}, {}", kOciIndex, kDockerIndex, kOciManifest, kDockerManifest);
}

Result<Compression> compression_of_layer(std::string_view media_type) {
  for (const LayerType& type : kLayerTypes) {
    if (type.media_type == media_type) return type.compression;
  }
  return image_invalid(fmt::format("layers of type '{}' are not supported", shown(media_type)));
}

Result<std::vector<Descriptor>> parse_index(std::string_view text, std::string_view media_type) {
  CR_ASSIGN(const Json json, parse_object(text, "image index"));
  CR_TRY(
      check_shape(json, media_type.empty() ? kOciIndex : media_type, {"layers", "config", "fsLayers", "signatures"}));
  return descriptors_of(json, "manifests", kMaxDescriptors);
}

Result<Manifest> parse_manifest(std::string_view text, std::string_view media_type, const Limits& limits) {
  CR_ASSIGN(const Json json, parse_object(text, "image manifest"));
  CR_TRY(check_shape(json, media_type, {"manifests", "fsLayers", "signatures", "history"}));
  const Json* config = member(json, "config");
  if (!config) return image_invalid("the image manifest has no config");
  CR_ASSIGN(Descriptor config_descriptor, parse_descriptor(*config));
  if (std::find(kConfigTypes.begin(), kConfigTypes.end(), config_descriptor.media_type) == kConfigTypes.end()) {
    return image_invalid(
        fmt::format("'{}' is not the config of an image that runs", shown(config_descriptor.media_type)));
  }
  CR_ASSIGN(std::vector<Descriptor> layers, descriptors_of(json, "layers", limits.layers));
  if (layers.empty()) return image_invalid("the image has no layers");
  std::uint64_t bytes = 0;
  for (const Descriptor& layer : layers) {
    CR_TRY(compression_of_layer(layer.media_type));
    bytes += layer.size;  // each below kMaxBlobBytes
  }
  // Nothing is planned, let alone fetched, for sizes that cannot be true of an image within the limits.
  if (bytes > limits.expanded_bytes)
    return image_limit(fmt::format("the layers have {} MiB, more than they may have unpacked", bytes >> 20));
  return Manifest{std::move(config_descriptor), std::move(layers)};
}

Result<Config> parse_config(std::string_view text) {
  CR_ASSIGN(const Json json, parse_object(text, "image config"));
  for (const char* key : {"manifests", "layers", "fsLayers"}) {
    if (json.contains(key)) return image_invalid(fmt::format("the image config has '{}' too", key));
  }
  CR_ASSIGN(const std::string os, text_of(json, "os"));
  CR_ASSIGN(const std::string architecture, text_of(json, "architecture"));
  if (os + "/" + architecture != host_platform()) {
    return image_invalid(
        fmt::format("the image is for '{}', this host is '{}'", shown(os + "/" + architecture), host_platform()));
  }
  const Json* rootfs = member(json, "rootfs");
  if (!rootfs || !rootfs->is_object()) return image_invalid("the image config has no rootfs");
  CR_ASSIGN(const std::string type, text_of(*rootfs, "type"));
  if (type != "layers") return image_invalid(fmt::format("the image's rootfs is of type '{}'", shown(type)));
  Config config;
  CR_ASSIGN(const auto diff_ids, texts_of(*rootfs, "diff_ids"));
  for (const std::string& diff_id : diff_ids) {
    CR_ASSIGN(model::Digest digest, document_digest_of(diff_id));
    config.diff_ids.push_back(std::move(digest));
  }
  if (const Json* process = member(json, "config")) {
    if (!process->is_object()) return image_invalid("'config' is not an object");
    CR_ASSIGN(config.process.env, texts_of(*process, "Env"));
    CR_ASSIGN(config.process.user, text_of(*process, "User"));
    CR_ASSIGN(config.process.workdir, text_of(*process, "WorkingDir"));
    CR_ASSIGN(config.process.entrypoint, texts_of(*process, "Entrypoint"));
    CR_ASSIGN(config.process.cmd, texts_of(*process, "Cmd"));
  }
  return config;
}

Result<std::vector<DockerImage>> parse_docker_manifest(std::string_view text, const Limits& limits) {
  auto json = base::parse_json(text, "manifest.json", {.max_bytes = limits.document_bytes});
  if (!json) return image_invalid(json.error().describe());
  if (!json->is_array() || json->empty()) return image_invalid("manifest.json lists no image");
  if (json->size() > kMaxDescriptors) return image_limit("manifest.json lists too many images");
  std::vector<DockerImage> images;
  for (const Json& item : *json) {
    if (!item.is_object()) return image_invalid("an entry of manifest.json is not an object");
    DockerImage image;
    CR_ASSIGN(image.config, text_of(item, "Config"));
    CR_ASSIGN(image.names, texts_of(item, "RepoTags"));
    CR_ASSIGN(image.layers, texts_of(item, "Layers"));
    if (image.config.empty() || image.layers.empty())
      return image_invalid("an entry of manifest.json has no config or no layers");
    if (image.layers.size() > limits.layers)
      return image_limit(fmt::format("the image has more than {} layers", limits.layers));
    images.push_back(std::move(image));
  }
  return images;
}

}  // namespace cleanroom::image
