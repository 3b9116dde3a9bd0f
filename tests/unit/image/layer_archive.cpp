#include "tests/unit/image/layer_archive.h"

#include "src/base/os/atomic_file.h"

#include <archive.h>
#include <archive_entry.h>

#include <cstdio>
#include <numeric>

namespace cleanroom::image::testing {
namespace {

std::string compress(const std::string& text, int (*filter)(archive*)) {
  std::string out(text.size() + (1u << 16), '\0');
  std::size_t used = 0;
  archive* a = archive_write_new();
  archive_write_set_format_raw(a);
  REQUIRE(filter(a) == ARCHIVE_OK);
  archive_write_set_bytes_per_block(a, 0);
  REQUIRE(archive_write_open_memory(a, out.data(), out.size(), &used) == ARCHIVE_OK);
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_write_header(a, entry);
  REQUIRE(archive_write_data(a, text.data(), text.size()) == static_cast<la_ssize_t>(text.size()));
  archive_entry_free(entry);
  REQUIRE(archive_write_close(a) == ARCHIVE_OK);
  archive_write_free(a);
  out.resize(used);
  return out;
}

std::string header(const TarEntry& entry, char type, const std::string& name, std::size_t size) {
  std::string block(512, '\0');
  const auto put = [&](std::size_t at, const std::string& text) { block.replace(at, text.size(), text); };
  put(0, name.substr(0, 100));
  put(100, fmt::format("{:07o}", entry.mode));
  put(108, fmt::format("{:07o}", entry.uid));
  put(116, fmt::format("{:07o}", entry.gid));
  put(124, fmt::format("{:011o}", size));
  put(136, fmt::format("{:011o}", 1'600'000'000));
  block[156] = type;
  put(157, entry.link.substr(0, 100));
  put(257, std::string("ustar\0", 6) + "00");
  put(329, fmt::format("{:07o}", entry.major));
  put(337, fmt::format("{:07o}", entry.minor));
  put(148, "        ");
  const unsigned sum = std::accumulate(block.begin(), block.end(), 0u,
                                       [](unsigned total, char c) { return total + static_cast<unsigned char>(c); });
  put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return block;
}

std::string padded(std::string text) {
  text.resize((text.size() + 511) / 512 * 512);
  return text;
}

std::string pax_record(const std::string& key, const std::string& value) {
  const std::size_t body = key.size() + value.size() + 3;
  std::size_t length = body + 1;
  while (std::to_string(length).size() + body != length)
    ++length;
  return std::to_string(length) + " " + key + "=" + value + "\n";
}

}  // namespace

std::string tar_member(const TarEntry& entry) {
  auto pax = entry.pax;
  if (entry.name.size() > 100) pax["path"] = entry.name;
  if (entry.link.size() > 100) pax["linkpath"] = entry.link;
  std::string out;
  if (!pax.empty()) {
    std::string records;
    for (const auto& [key, value] : pax)
      records += pax_record(key, value);
    out += header({}, 'x', "pax", records.size()) + padded(records);
  }
  return out + header(entry, entry.type, entry.name, entry.content.size()) + padded(entry.content);
}

std::string tar_of(const std::vector<TarEntry>& entries) {
  std::string out;
  for (const auto& entry : entries)
    out += tar_member(entry);
  return out + std::string(1024, '\0');
}

std::string gzip(const std::string& text) {
  return compress(text, archive_write_add_filter_gzip);
}
std::string zstd(const std::string& text) {
  return compress(text, archive_write_add_filter_zstd);
}

std::string Blob::descriptor(const std::string& media_type, const std::string& more) const {
  return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}{}}})", media_type, digest(), bytes.size(), more);
}

void LayoutMaker::make() {
  std::string diff_ids;
  std::string descriptors;
  for (Layer& layer : layers) {
    if (layer.blob.empty()) layer.blob = layer.tar;
    const char* comma = diff_ids.empty() ? "" : ",";
    diff_ids += fmt::format(R"({}"{}")", comma, Blob{layer.tar}.digest());
    descriptors += comma + Blob{layer.blob}.descriptor(layer.media_type);
  }
  if (config.empty()) {
    config = fmt::format(
        R"({{"os":"linux","architecture":"amd64","config":{},"rootfs":{{"type":"layers","diff_ids":[{}]}}}})", process,
        diff_ids);
  }
  if (manifest.empty()) {
    manifest = fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]}})",
                           Blob{config}.descriptor("application/vnd.oci.image.config.v1+json"), descriptors);
  }
  if (index.empty()) {
    index = fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})",
                        Blob{manifest}.descriptor("application/vnd.oci.image.manifest.v1+json",
                                                  R"(,"annotations":{"org.opencontainers.image.ref.name":"latest"})"));
  }
}

std::string LayoutMaker::manifest_digest() {
  make();
  return Blob{manifest}.digest();
}

void LayoutMaker::write(const std::filesystem::path& directory) {
  make();
  const auto put = [&](const std::string& name, const std::string& bytes) {
    REQUIRE(base::write_file_atomically(directory / name, bytes, 0644).has_value());
  };
  std::filesystem::create_directories(directory / "blobs/sha256");
  put("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  put("index.json", index);
  std::vector<std::string> blobs{config, manifest};
  for (const Layer& layer : layers)
    blobs.push_back(layer.blob);
  for (const Blob& blob : more_blobs)
    blobs.push_back(blob.bytes);
  for (const std::string& blob : blobs)
    put("blobs/sha256/" + base::sha256_hex(blob), blob);
}

std::string LayoutMaker::archive() {
  make();
  std::vector<TarEntry> entries{{.name = "./blobs/", .type = '5'},
                                {.name = "./oci-layout", .content = R"({"imageLayoutVersion":"1.0.0"})"},
                                {.name = "./index.json", .content = index},
                                {.name = "./blobs/sha256/" + base::sha256_hex(manifest), .content = manifest},
                                {.name = "./blobs/sha256/" + base::sha256_hex(config), .content = config}};
  for (const Layer& layer : layers) {
    entries.push_back({.name = "./blobs/sha256/" + base::sha256_hex(layer.blob), .content = layer.blob});
  }
  return tar_of(entries);
}

std::string LayoutMaker::docker_archive() {
  make();
  std::string names;
  std::vector<TarEntry> entries{{.name = base::sha256_hex(config) + ".json", .content = config}};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string name = fmt::format("layer{}/layer.tar", i);
    names += fmt::format(R"({}"{}")", names.empty() ? "" : ",", name);
    entries.push_back({.name = name, .content = layers[i].blob});
  }
  entries.push_back({.name = "manifest.json",
                     .content = fmt::format(R"([{{"Config":"{}.json","RepoTags":["demo:1"],"Layers":[{}]}}])",
                                            base::sha256_hex(config), names)});
  return tar_of(entries);
}

}  // namespace cleanroom::image::testing
