#include "tests/unit/image/memory_files.h"

#include <random>

namespace cleanroom::image::testing {
namespace {

class MemoryReader final : public FileReader {
 public:
  MemoryReader(const MemoryBlobs& blobs, std::string name)
      : blobs_(blobs), name_(std::move(name)), text_(blobs.files.at(name_)) {}
  std::uint64_t size() const override { return text_.size(); }
  base::Result<std::size_t> read(std::span<std::byte> into) override {
    if (blobs_.before_read) blobs_.before_read(name_, at_);
    const std::size_t n = std::min({into.size(), text_.size() - at_, std::size_t{70'001}});
    if (n > 0) std::memcpy(into.data(), text_.data() + at_, n);
    at_ += n;
    return n;
  }

 private:
  const MemoryBlobs& blobs_;
  const std::string name_;
  const std::string& text_;
  std::size_t at_ = 0;
};

class MemoryFiles final : public FileSet {
 public:
  explicit MemoryFiles(MemoryBlobs& blobs) : blobs_(blobs) {}
  base::Result<std::unique_ptr<FileReader>> open(const std::string& name) const override {
    if (!blobs_.files.contains(name)) return base::fail(base::Code::invalid_input, "image_invalid", "no " + name);
    blobs_.note_opened(name);
    return std::make_unique<MemoryReader>(blobs_, name);
  }

 private:
  MemoryBlobs& blobs_;
};

std::string file_of(const std::string& bytes) {
  return "blobs/sha256/" + base::sha256_hex(bytes);
}

}  // namespace

void MemoryBlobs::note_opened(const std::string& name) {
  const std::lock_guard lock(mutex_);
  opened_.push_back(name);
}

std::vector<std::string> MemoryBlobs::opened() const {
  const std::lock_guard lock(mutex_);
  return opened_;
}

std::string blob_file(const LayoutMaker::Layer& layer) {
  return file_of(layer.blob.empty() ? layer.tar : layer.blob);
}

ImageSource source_of(LayoutMaker& layout, MemoryBlobs& blobs) {
  layout.make();
  blobs.files[file_of(layout.config)] = layout.config;
  blobs.files[file_of(layout.manifest)] = layout.manifest;
  for (const auto& layer : layout.layers)
    blobs.files[blob_file(layer)] = layer.blob;
  return ImageSource::from_manifest(
      std::make_unique<MemoryFiles>(blobs),
      {"application/vnd.oci.image.manifest.v1+json", model::Digest::from_sha256_hex(base::sha256_hex(layout.manifest)),
       layout.manifest.size(), "", ""},
      {});
}

LayoutMaker layout_of(const std::vector<std::vector<TarEntry>>& layers) {
  LayoutMaker layout;
  for (const auto& layer : layers)
    layout.layers.push_back({.tar = tar_of(layer)});
  layout.make();
  return layout;
}

std::string noise(std::size_t size, unsigned seed) {
  std::mt19937_64 random(seed);
  std::string text((size + 7) / 8 * 8, '\0');
  for (std::size_t at = 0; at < text.size(); at += 8) {
    const std::uint64_t word = random() | 1;
    std::memcpy(text.data() + at, &word, sizeof word);
  }
  text.resize(size);
  return text;
}

}  // namespace cleanroom::image::testing
