#pragma once
// The JSON documents of an image, read strictly (OCI image-spec 1.1: image-index.md, manifest.md, config.md; Docker's
// image manifest version 2, schema 2). All errors are image_invalid.
#include "src/base/os/result.h"
#include "src/image/layer_stream.h"
#include "src/model/digest.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::image {

enum class DocumentKind { index, manifest };

// What the image's config says about processes (OCI image-spec config.md).
struct ImageConfig {
  std::vector<std::string> env;  // "K=V"
  std::string user;
  std::string workdir;
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
};

struct Descriptor {
  std::string media_type;
  model::Digest digest;
  std::uint64_t size = 0;
  std::string platform;   // "linux/amd64", or empty
  std::string reference;  // the annotation org.opencontainers.image.ref.name
  std::string variant;    // of the architecture: "v8", or empty
};

struct Manifest {
  Descriptor config;
  std::vector<Descriptor> layers;
};

struct Config {
  ImageConfig process;
  std::vector<model::Digest> diff_ids;
};

struct DockerImage {  // one entry of manifest.json of `docker save`
  std::string config;
  std::vector<std::string> names;
  std::vector<std::string> layers;
};

// Nothing for a media type that is neither.
std::optional<DocumentKind> kind_of_document(std::string_view media_type);
// The header by which a registry is asked for any of them (distribution-spec 1.1, "Pulling manifests").
std::string accept_header();
// Of a layer's media type; image_invalid for one that is no layer of ours.
base::Result<Compression> compression_of_layer(std::string_view media_type);

// `media_type`: what the descriptor says, empty for index.json itself. A document that has the fields of another kind,
// or another mediaType of its own, is refused (CVE-2021-41190).
base::Result<std::vector<Descriptor>> parse_index(std::string_view text, std::string_view media_type);
base::Result<Manifest> parse_manifest(std::string_view text, std::string_view media_type, const Limits& limits);
// Refuses another operating system or architecture than this host's.
base::Result<Config> parse_config(std::string_view text);
base::Result<std::vector<DockerImage>> parse_docker_manifest(std::string_view text, const Limits& limits);

// "linux/amd64" or "linux/arm64": what this build runs.
std::string_view host_platform();
// Whether every processor of this host's architecture runs the variant: amd64/v3 needs some that others lack.
bool is_baseline_variant(std::string_view variant);

}  // namespace cleanroom::image
