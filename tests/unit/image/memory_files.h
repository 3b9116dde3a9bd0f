#pragma once
// Images whose blobs are in memory, to see and steer how a build reads them.
#include "src/image/image_source.h"
#include "tests/unit/image/layer_archive.h"

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace cleanroom::image::testing {

struct MemoryBlobs {
  std::map<std::string, std::string> files;  // by name in a layout
  // Before each read, in the thread that reads: of which file, from which offset on.
  std::function<void(const std::string& name, std::uint64_t offset)> before_read;

  void note_opened(const std::string& name);
  std::vector<std::string> opened() const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> opened_;
};

// The image that `layout` describes; `blobs` gets its files, and outlives the source.
ImageSource source_of(LayoutMaker& layout, MemoryBlobs& blobs);
std::string blob_file(const LayoutMaker::Layer& layer);

LayoutMaker layout_of(const std::vector<std::vector<TarEntry>>& layers);
// Bytes that no compression and no hole makes smaller; the same for the same seed.
std::string noise(std::size_t size, unsigned seed = 1);

}  // namespace cleanroom::image::testing
