// F14. Whatever an index, a manifest, a config or a manifest.json says: what is accepted keeps the limits, has digests
// of one form and layers and configs of known types; a document is of one kind only (CVE-2021-41190), under whatever
// media type it is read; the same document written in another way gives the same; and errors are clean text.
//
// An input that starts with a zero byte is a list of choices that makes a document, any other is the document.
#include "src/image/oci_documents.h"

#include "src/base/text/json.h"
#include "tests/fuzz/image/memory_source.h"

#include <fuzzer/FuzzedDataProvider.h>
#include <nlohmann/json.hpp>

using namespace cleanroom;
using base::Json;

namespace {

constexpr const char* kMediaTypes[] = {"",
                                       "application/vnd.oci.image.index.v1+json",
                                       "application/vnd.oci.image.manifest.v1+json",
                                       "application/vnd.docker.distribution.manifest.list.v2+json",
                                       "application/vnd.docker.distribution.manifest.v2+json",
                                       "application/vnd.oci.image.config.v1+json",
                                       "application/vnd.docker.container.image.v1+json",
                                       "application/vnd.oci.image.layer.v1.tar+gzip",
                                       "application/vnd.oci.image.layer.v1.tar+zstd",
                                       "application/vnd.oci.image.layer.nondistributable.v1.tar",
                                       "text/plain"};
constexpr const char* kKeys[] = {"schemaVersion", "mediaType",    "manifests",  "config",
                                 "layers",        "fsLayers",     "digest",     "size",
                                 "platform",      "annotations",  "os",         "architecture",
                                 "rootfs",        "type",         "diff_ids",   "Env",
                                 "User",          "WorkingDir",   "Entrypoint", "Cmd",
                                 "Config",        "RepoTags",     "Layers",     "history",
                                 "signatures",    "artifactType", "subject",    "org.opencontainers.image.ref.name"};
constexpr const char* kReadAs[] = {"", kMediaTypes[1], kMediaTypes[2], kMediaTypes[4]};
const image::Limits kLimits = {.layers = 3, .document_bytes = 8192};

std::string some_digest(FuzzedDataProvider& input) {
  std::string digest = "sha256:" + std::string(64, input.PickValueInArray({'0', 'a', 'f'}));
  if (input.ConsumeIntegralInRange(0, 31) == 31)
    digest[input.ConsumeIntegralInRange<std::size_t>(0, digest.size() - 1)] =
        static_cast<char>(input.ConsumeIntegral<std::uint8_t>() % 128);
  return digest;
}

Json some_scalar(FuzzedDataProvider& input) {
  switch (input.ConsumeIntegralInRange(0, 9)) {
    case 0:
      return nullptr;
    case 1:
      return input.ConsumeIntegral<std::int64_t>();
    case 2:
      return input.ConsumeIntegral<std::uint64_t>();
    case 3:
      return input.ConsumeFloatingPoint<double>();
    case 4:
      return input.ConsumeBool();
    case 5:
      return some_digest(input);
    case 6:
      return Json::array();
    case 7:
      return Json::object();
    case 8:
      return input.PickValueInArray(kMediaTypes);
    default:
      return input.ConsumeRandomLengthString(40);
  }
}

Json some_descriptor(FuzzedDataProvider& input, std::initializer_list<std::size_t> types) {
  const auto type = types.begin()[input.ConsumeIntegralInRange<std::size_t>(0, types.size() - 1)];
  Json descriptor = {{"mediaType", kMediaTypes[type]},
                     {"digest", some_digest(input)},
                     {"size", input.ConsumeIntegral<std::uint16_t>()}};
  if (input.ConsumeBool()) descriptor["platform"] = {{"os", "linux"}, {"architecture", "amd64"}};
  if (input.ConsumeBool()) descriptor["annotations"] = {{"org.opencontainers.image.ref.name", "latest"}};
  return descriptor;
}

void put_parts(FuzzedDataProvider& input, Json& document) {
  if (input.ConsumeBool()) {
    for (auto left = input.ConsumeIntegralInRange(0, 4); left > 0; --left)
      document["manifests"].push_back(some_descriptor(input, {2, 4, 1, 10}));
  }
  if (input.ConsumeBool()) {
    document["config"] = some_descriptor(input, {5, 6, 10});
    for (auto left = input.ConsumeIntegralInRange(0, 4); left > 0; --left)
      document["layers"].push_back(some_descriptor(input, {7, 8, 9}));
  }
  if (input.ConsumeBool()) {
    document["os"] = "linux";
    document["architecture"] = "amd64";
    document["rootfs"] = {{"type", "layers"}, {"diff_ids", {some_digest(input)}}};
    if (input.ConsumeBool()) document["config"] = {{"Env", {"A=b"}}, {"Cmd", {input.ConsumeRandomLengthString(9)}}};
  }
}

// A document with the parts of some kinds, and then one or two values anywhere in it changed.
std::string some_document(FuzzedDataProvider& input) {
  Json document = Json::object();
  document["schemaVersion"] = 2;
  if (input.ConsumeBool()) document["mediaType"] = input.PickValueInArray(kMediaTypes);
  put_parts(input, document);
  if (input.ConsumeIntegralInRange(0, 3) == 3) {
    document = Json::array({{{"Config", "c.json"}, {"RepoTags", {"a:b"}}, {"Layers", {"l.tar"}}}});
  }
  for (auto left = input.ConsumeIntegralInRange(0, 2); left > 0; --left) {
    Json* at = &document;
    while (at->is_structured() && !at->empty() && input.ConsumeBool()) {
      const auto step = input.ConsumeIntegralInRange<std::size_t>(0, at->size() - 1);
      at = &*std::next(at->begin(), static_cast<std::ptrdiff_t>(step));
    }
    if (at->is_object() && input.ConsumeBool())
      (*at)[input.PickValueInArray(kKeys)] = some_scalar(input);
    else
      *at = some_scalar(input);
  }
  return base::canonical_json(document);
}

void check_text(std::string_view text) {
  FUZZ_CHECK(text.find('\0') == std::string_view::npos);
}
void check_digest(const model::Digest& digest) {
  const auto again = model::Digest::parse(digest.to_string());
  FUZZ_CHECK(again && *again == digest && digest.hex().find_first_not_of("0123456789abcdef") == std::string::npos);
}
void check_descriptor(const image::Descriptor& descriptor) {
  check_digest(descriptor.digest);
  check_text(descriptor.media_type);
  check_text(descriptor.platform);
  check_text(descriptor.reference);
  check_text(descriptor.variant);
  FUZZ_CHECK(descriptor.size <= 1ull << 40);
}

std::string shown(const image::Descriptor& d) {
  return fmt::format("{}|{}|{}|{}|{}|{}\n", d.media_type, d.digest.to_string(), d.size, d.platform, d.variant,
                     d.reference);
}

// What each reader makes of a document, as text; empty where it refuses.
struct Readings {
  std::string index, manifest, config, docker;
  bool operator==(const Readings&) const = default;
};

template <class T, class Show>
std::string reading(const base::Result<T>& result, Show show) {
  if (result) return "accepted\n" + show(*result);
  fuzz::check_image_error(result.error());
  return "";
}

void read_typed(std::string_view text, std::string_view media_type, Readings& readings) {
  readings.index = reading(image::parse_index(text, media_type), [](const auto& descriptors) {
    std::string out;
    FUZZ_CHECK(descriptors.size() <= 1024);
    for (const auto& descriptor : descriptors) {
      check_descriptor(descriptor);
      out += shown(descriptor);
    }
    return out;
  });
  readings.manifest = reading(image::parse_manifest(text, media_type, kLimits), [](const image::Manifest& manifest) {
    check_descriptor(manifest.config);
    FUZZ_CHECK(manifest.config.media_type == kMediaTypes[5] || manifest.config.media_type == kMediaTypes[6]);
    FUZZ_CHECK(!manifest.layers.empty() && manifest.layers.size() <= kLimits.layers);
    std::string out = shown(manifest.config);
    for (const auto& layer : manifest.layers) {
      check_descriptor(layer);
      FUZZ_CHECK(image::compression_of_layer(layer.media_type));
      FUZZ_CHECK(layer.media_type.find("nondistributable") == std::string::npos);
      out += shown(layer);
    }
    return out;
  });
}

void read_untyped(std::string_view text, Readings& readings) {
  readings.config = reading(image::parse_config(text), [](const image::Config& config) {
    std::string out = config.process.user + "|" + config.process.workdir;
    for (const auto& digest : config.diff_ids) {
      check_digest(digest);
      out += "\n" + digest.to_string();
    }
    for (const auto* list : {&config.process.env, &config.process.entrypoint, &config.process.cmd}) {
      for (const auto& item : *list) {
        check_text(item);
        out += "\n" + item;
      }
    }
    check_text(config.process.user);
    check_text(config.process.workdir);
    return out;
  });
  readings.docker = reading(image::parse_docker_manifest(text, kLimits), [](const auto& images) {
    std::string out;
    FUZZ_CHECK(!images.empty() && images.size() <= 1024);
    for (const auto& image : images) {
      FUZZ_CHECK(!image.config.empty() && !image.layers.empty() && image.layers.size() <= kLimits.layers);
      check_text(image.config);
      out += image.config;
      for (const auto* list : {&image.names, &image.layers}) {
        for (const auto& item : *list) {
          check_text(item);
          out += "\n" + item;
        }
      }
    }
    return out;
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(fuzz::as_text(data, size));
  if (size > 0 && data[0] == 0) {
    FuzzedDataProvider input(data + 1, size - 1);
    text = some_document(input);
  }
  if (std::getenv("FUZZ_SHOW")) std::fprintf(stderr, "%s\n", text.c_str());
  Readings readings;
  read_untyped(text, readings);
  std::vector<const char*> taken;  // the media types under which it is an index or a manifest
  bool is_index = false;
  bool is_manifest = false;
  for (const char* const media_type : kReadAs) {
    read_typed(text, media_type, readings);
    is_index = is_index || !readings.index.empty();
    is_manifest = is_manifest || !readings.manifest.empty();
    if (!readings.index.empty() || !readings.manifest.empty()) taken.push_back(media_type);
  }
  const int kinds = is_index + is_manifest + !readings.config.empty() + !readings.docker.empty();
  FUZZ_CHECK(kinds <= 1);
  if (kinds == 0) return 0;
  const auto json = base::parse_json(text, "document", {.max_bytes = 4u << 20});
  FUZZ_CHECK(json);
  // A document that says what it is, is taken for nothing else.
  const std::string own = json->is_object() && json->contains("mediaType") && (*json)["mediaType"].is_string()
                              ? (*json)["mediaType"].get<std::string>()
                              : "";
  for (const std::string_view media_type : taken)
    FUZZ_CHECK(own.empty() || media_type.empty() || media_type == own);
  Readings again;
  const std::string rewritten = base::canonical_json(*json);
  read_untyped(rewritten, again);
  const std::string_view last = kReadAs[std::size(kReadAs) - 1];
  read_typed(rewritten, taken.empty() ? last : taken.back(), again);
  read_typed(text, taken.empty() ? last : taken.back(), readings);
  FUZZ_CHECK(again == readings);
  return 0;
}
