#include "src/image/image_source.h"

#include "src/base/net/sha256.h"
#include "src/base/text/json.h"
#include "src/image/image_error.h"
#include "src/model/image_reference.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Result;

struct Scheme {
  std::string_view text;
  SourceKind kind;
};
constexpr std::array kSchemes = {
    Scheme{"oci:", SourceKind::oci_directory},
    Scheme{"oci-archive:", SourceKind::oci_archive},
    Scheme{"docker-archive:", SourceKind::docker_archive},
    Scheme{"docker-daemon:", SourceKind::docker_engine},
    Scheme{"podman:", SourceKind::podman_engine},
};

// The bytes of a blob that its descriptor describes.
Result<std::string> read_blob(const FileSet& files, const Descriptor& descriptor, const Limits& limits) {
  CR_ASSIGN(std::string text, files.read(blob_name(descriptor.digest), limits.document_bytes));
  if (text.size() != descriptor.size) {
    return image_invalid(fmt::format("the blob {} has {} bytes, its descriptor says {}", descriptor.digest.to_string(),
                                     text.size(), descriptor.size));
  }
  if (base::sha256_hex(text) != descriptor.digest.hex()) {
    return image_invalid(
        fmt::format("the content of the blob {} is not what its digest says", descriptor.digest.to_string()));
  }
  return text;
}

Result<void> check_layout(const FileSet& files, const Limits& limits) {
  CR_ASSIGN(const std::string text, files.read("oci-layout", limits.document_bytes));
  auto json = base::parse_json(text, "oci-layout");
  if (!json) return image_invalid(json.error().describe());
  const bool known =
      json->is_object() && json->contains("imageLayoutVersion") && (*json)["imageLayoutVersion"] == "1.0.0";
  return known ? Result<void>() : image_invalid("the file 'oci-layout' does not say version 1.0.0");
}

base::Failure no_manifest_for_host() {
  return fail(Code::not_found, "image_not_found", fmt::format("the image has no manifest for '{}'", host_platform()));
}

// With a tag: what carries it. Without: the only one; or the only one for this host.
Result<Descriptor> choose(std::vector<Descriptor> all, const std::string& tag) {
  std::erase_if(all, [](const Descriptor& d) { return !kind_of_document(d.media_type); });
  if (!tag.empty()) {
    std::erase_if(all, [&](const Descriptor& d) { return d.reference != tag; });
    if (all.empty())
      return fail(Code::not_found, "image_not_found", fmt::format("the image layout has no tag '{}'", shown(tag)));
  }
  if (all.size() > 1) std::erase_if(all, [](const Descriptor& d) { return d.platform != host_platform(); });
  if (all.size() == 1) return std::move(all.front());
  if (all.empty()) return no_manifest_for_host();
  return fail(base::Error(Code::invalid_input, "image_ref_invalid", "the image layout holds several images")
                  .with_hint("name one by its tag: oci:DIR:TAG"));
}

}  // namespace

std::string blob_name(const model::Digest& digest) {
  return "blobs/sha256/" + digest.hex();
}

Result<Descriptor> choose_for_host(std::vector<Descriptor> entries) {
  std::erase_if(entries, [](const Descriptor& d) { return !kind_of_document(d.media_type); });
  // A single entry need not say its platform: the config does.
  if (entries.size() > 1) std::erase_if(entries, [](const Descriptor& d) { return d.platform != host_platform(); });
  if (entries.empty()) return no_manifest_for_host();
  const auto found =
      std::find_if(entries.begin(), entries.end(), [](const Descriptor& d) { return is_baseline_variant(d.variant); });
  return found == entries.end() ? std::move(entries.front()) : std::move(*found);
}

bool is_file(SourceKind kind) {
  return kind == SourceKind::oci_directory || kind == SourceKind::oci_archive || kind == SourceKind::docker_archive;
}

Result<SourceName> parse_source(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return fail(base::Error(Code::invalid_input, "image_ref_invalid",
                            fmt::format("cannot use the image '{}': {}", shown(text), why))
                    .with_hint("write name[:tag][@sha256:...], oci:DIR[:tag], oci-archive:FILE[:tag], "
                               "docker-archive:FILE[:name], docker-daemon:NAME or podman:NAME"));
  };
  if (text.find('\0') != std::string_view::npos || text.size() > 4096) return bad("it is too long or holds a NUL");
  for (const Scheme& scheme : kSchemes) {
    if (!text.starts_with(scheme.text)) continue;
    std::string_view rest = text.substr(scheme.text.size());
    if (!is_file(scheme.kind)) {
      // A name may start with an option's dash for no engine.
      if (rest.empty() || rest.front() == '-') return bad("no image name follows");
      return SourceName{.kind = scheme.kind, .tag = std::string(rest)};
    }
    const std::size_t colon = rest.find(':');
    SourceName name{.kind = scheme.kind, .path = std::filesystem::path(rest.substr(0, colon))};
    if (colon != std::string_view::npos) name.tag = rest.substr(colon + 1);
    if (name.path.empty()) return bad("no path follows");
    if (colon != std::string_view::npos && name.tag.empty()) return bad("no tag follows the last ':'");
    return name;
  }
  if (text.starts_with("sha256:")) {
    CR_ASSIGN(model::Digest digest, model::Digest::parse(text));
    return SourceName{.kind = SourceKind::stored, .digest = std::move(digest)};
  }
  CR_ASSIGN(auto reference, model::ImageReference::parse(text));
  return SourceName{.kind = SourceKind::registry, .reference = std::move(reference)};
}

ImageSource ImageSource::from_manifest(std::unique_ptr<FileSet> files, Descriptor manifest, const Limits& limits) {
  ImageSource source(std::move(files), limits, manifest.digest);
  source.manifest_ = std::move(manifest);
  return source;
}

Result<ImageSource> ImageSource::from_docker_archive(base::Fd archive, const std::string& name, const Limits& limits) {
  CR_ASSIGN(auto files, open_archive_set(std::move(archive), "the archive"));
  return open_docker(std::move(files), {.kind = SourceKind::docker_archive, .tag = name}, limits);
}

Result<ImageSource> ImageSource::open(const SourceName& name, const Limits& limits) {
  CR_ASSIGN(auto files,
            name.kind == SourceKind::oci_directory ? open_directory_set(name.path) : open_archive_set(name.path));
  return name.kind == SourceKind::docker_archive ? open_docker(std::move(files), name, limits)
                                                 : open_oci(std::move(files), name, limits);
}

Result<ImageSource> ImageSource::open_oci(std::unique_ptr<FileSet> files, const SourceName& name,
                                          const Limits& limits) {
  CR_TRY(check_layout(*files, limits));
  CR_ASSIGN(const std::string text, files->read("index.json", limits.document_bytes));
  CR_ASSIGN(std::vector<Descriptor> entries, parse_index(text, {}));
  CR_ASSIGN(Descriptor chosen, choose(std::move(entries), name.tag));
  // One level of nesting is what image builders write for several platforms; more is amplification.
  if (kind_of_document(chosen.media_type) == DocumentKind::index) {
    CR_ASSIGN(const std::string nested, read_blob(*files, chosen, limits));
    CR_ASSIGN(std::vector<Descriptor> platforms, parse_index(nested, chosen.media_type));
    CR_ASSIGN(chosen, choose_for_host(std::move(platforms)));
    if (kind_of_document(chosen.media_type) == DocumentKind::index)
      return image_invalid("image indexes are nested too deeply");
  }
  ImageSource source(std::move(files), limits, chosen.digest);
  source.manifest_ = std::move(chosen);
  return source;
}

Result<ImageSource> ImageSource::open_docker(std::unique_ptr<FileSet> files, const SourceName& name,
                                             const Limits& limits) {
  CR_ASSIGN(const std::string text, files->read("manifest.json", limits.document_bytes));
  CR_ASSIGN(std::vector<DockerImage> images, parse_docker_manifest(text, limits));
  if (!name.tag.empty()) {
    std::erase_if(images, [&](const DockerImage& image) {
      return std::find(image.names.begin(), image.names.end(), name.tag) == image.names.end();
    });
    if (images.empty())
      return fail(Code::not_found, "image_not_found", fmt::format("the archive has no image '{}'", shown(name.tag)));
  }
  if (images.size() != 1) {
    return fail(base::Error(Code::invalid_input, "image_ref_invalid", "the archive holds several images")
                    .with_hint("name one: docker-archive:FILE:NAME"));
  }
  CR_ASSIGN(const std::string config, files->read(images.front().config, limits.document_bytes));
  ImageSource source(std::move(files), limits, model::Digest::from_sha256_hex(base::sha256_hex(config)));
  source.docker_ = std::move(images.front());
  return source;
}

Result<BuildPlan> ImageSource::plan() const {
  if (rootfs_) return plan_rootfs();
  return docker_ ? plan_docker() : plan_oci();
}

Result<BuildPlan> ImageSource::plan_oci() const {
  CR_ASSIGN(const std::string manifest_text, read_blob(*files_, *manifest_, limits_));
  CR_ASSIGN(const Manifest manifest, parse_manifest(manifest_text, manifest_->media_type, limits_));
  CR_ASSIGN(const std::string config_text, read_blob(*files_, manifest.config, limits_));
  CR_ASSIGN(Config config, parse_config(config_text));
  if (config.diff_ids.size() != manifest.layers.size()) {
    return image_invalid(
        fmt::format("the image has {} layers and {} diff_ids", manifest.layers.size(), config.diff_ids.size()));
  }
  BuildPlan plan{.config = std::move(config.process), .layers = {}};
  for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
    const Descriptor& layer = manifest.layers[i];
    CR_ASSIGN(const Compression compression, compression_of_layer(layer.media_type));
    plan.layers.push_back({blob_name(layer.digest), {compression, layer.digest, layer.size, config.diff_ids[i]}});
  }
  return plan;
}

Result<BuildPlan> ImageSource::plan_docker() const {
  CR_ASSIGN(const std::string config_text, files_->read(docker_->config, limits_.document_bytes));
  if (base::sha256_hex(config_text) != digest_.hex()) return image_invalid("the config changed while it was read");
  // `docker save` names the config by its digest: <hex>.json, or blobs/sha256/<hex>.
  const std::string stem = std::filesystem::path(docker_->config).stem().native();
  if (stem.size() == 64 && stem != digest_.hex())
    return image_invalid("the content of the image's config is not what its name says");
  CR_ASSIGN(Config config, parse_config(config_text));
  if (config.diff_ids.size() != docker_->layers.size()) {
    return image_invalid(
        fmt::format("the image has {} layers and {} diff_ids", docker_->layers.size(), config.diff_ids.size()));
  }
  BuildPlan plan{.config = std::move(config.process), .layers = {}};
  for (std::size_t i = 0; i < docker_->layers.size(); ++i) {
    plan.layers.push_back({docker_->layers[i], {{}, {}, {}, config.diff_ids[i]}});
  }
  return plan;
}

}  // namespace cleanroom::image
