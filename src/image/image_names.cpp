#include "src/image/image_names.h"

#include "src/base/net/sha256.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/check.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/base/text/json.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace cleanroom::image {
namespace {

using base::Json;
using base::Result;

constexpr std::size_t kMaxFileBytes = 16u << 10;

std::filesystem::path name_file(const std::filesystem::path& root, const model::ImageReference& reference) {
  return root / "names" / base::sha256_hex(reference.to_string());
}

struct Name {
  std::string reference;
  ImageNames::Named meaning;
};

std::optional<Name> read_name(const std::filesystem::path& file) {
  const auto text = base::read_file(file, kMaxFileBytes);
  if (!text) return std::nullopt;
  const auto json = base::parse_json(*text, "name", {.max_bytes = kMaxFileBytes});
  if (!json || !json->is_object()) return std::nullopt;
  const auto reference = json->find("reference");
  const auto digest = json->find("digest");
  if (reference == json->end() || digest == json->end() || !reference->is_string() || !digest->is_string())
    return std::nullopt;
  auto parsed = model::Digest::parse(digest->get<std::string>());
  if (!parsed) return std::nullopt;
  const auto imported = json->find("imported");
  const bool local = imported != json->end() && imported->is_boolean() && imported->get<bool>();
  return Name{reference->get<std::string>(),
              {std::move(*parsed), local ? ImageNames::Origin::import : ImageNames::Origin::registry}};
}

std::optional<model::Digest> read_digest(const std::filesystem::path& file) {
  const auto text = base::read_file(file, kMaxFileBytes);
  if (!text) return std::nullopt;
  auto digest = model::Digest::parse(*text);
  if (!digest) return std::nullopt;
  return std::move(*digest);
}

std::string known_text(const model::ImageReference& image) {
  CR_CHECK(image.pinned(), "only a digest says which image");
  return fmt::format("{}/{}@{}", image.registry(), image.repository(), image.digest()->to_string());
}

template <class Visit>
void for_each_file(const std::filesystem::path& directory, Visit visit) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    // Else it is the temporary of a write that was killed.
    if (model::Digest::parse("sha256:" + entry.path().filename().native())) visit(entry.path());
  }
}

}  // namespace

Result<void> ImageNames::set_alias(const model::Digest& index, const model::Digest& manifest) const {
  if (index == manifest) return {};
  CR_TRY(base::make_private_directories(root_ / "aliases"));
  return base::write_file_atomically(root_ / "aliases" / index.hex(), manifest.to_string(), 0444);
}

std::optional<model::Digest> ImageNames::alias(const model::Digest& index) const {
  return read_digest(root_ / "aliases" / index.hex());
}

Result<void> ImageNames::write_known(const std::string& what, const model::Digest& manifest) const {
  const auto file = root_ / "known" / base::sha256_hex(what);
  if (read_digest(file) == manifest) return {};
  CR_TRY(base::make_private_directories(root_ / "known"));
  return base::write_file_atomically(file, manifest.to_string(), 0444);
}

Result<void> ImageNames::set_known(const model::ImageReference& image, const model::Digest& manifest) const {
  return write_known(known_text(image), manifest);
}

Result<void> ImageNames::set_imported(const model::Digest& manifest) const {
  return write_known(manifest.to_string(), manifest);
}

bool ImageNames::is_known(const model::ImageReference& image, const model::Digest& manifest) const {
  const auto says = [&](const std::string& what) {
    return read_digest(root_ / "known" / base::sha256_hex(what)) == manifest;
  };
  return says(manifest.to_string()) || says(known_text(image));
}

Result<void> ImageNames::set_name(const model::ImageReference& reference, const model::Digest& manifest,
                                  Origin origin) const {
  CR_TRY(base::make_private_directories(root_ / "names"));
  const Json json = {
      {"reference", reference.to_string()}, {"digest", manifest.to_string()}, {"imported", origin == Origin::import}};
  return base::write_file_atomically(name_file(root_, reference), base::canonical_json(json) + "\n", 0444);
}

std::optional<ImageNames::Named> ImageNames::named(const model::ImageReference& reference) const {
  auto name = read_name(name_file(root_, reference));
  if (!name || name->reference != reference.to_string()) return std::nullopt;
  return std::move(name->meaning);
}

Result<void> ImageNames::remove_name(const model::ImageReference& reference) const {
  const auto file = name_file(root_, reference);
  std::error_code error;
  std::filesystem::remove(file, error);
  return error ? base::fail(base::errno_error("remove", file.native(), error.value())) : Result<void>();
}

std::map<model::Digest, std::vector<std::string>> ImageNames::all() const {
  std::map<model::Digest, std::vector<std::string>> names;
  for_each_file(root_ / "names", [&](const std::filesystem::path& file) {
    if (auto name = read_name(file)) names[name->meaning.digest].push_back(std::move(name->reference));
  });
  for (auto& [digest, references] : names)
    std::sort(references.begin(), references.end());
  return names;
}

void ImageNames::forget(const model::Digest& manifest) const {
  std::error_code ignored;
  for_each_file(root_ / "names", [&](const std::filesystem::path& file) {
    const auto name = read_name(file);
    if (name && name->meaning.digest == manifest) std::filesystem::remove(file, ignored);
  });
  for (const char* directory : {"aliases", "known"}) {
    for_each_file(root_ / directory, [&](const std::filesystem::path& file) {
      if (read_digest(file) == manifest) std::filesystem::remove(file, ignored);
    });
  }
}

}  // namespace cleanroom::image
