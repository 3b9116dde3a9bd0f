#pragma once
// Builds the ext4 file of an image from its layers, in one pass over them.
#include "src/image/image_source.h"
#include "src/image/layer_index.h"

#include <functional>
#include <memory>

namespace cleanroom::image {

struct BuildStatistics {
  std::uint64_t members = 0;  // of all layers
  std::uint64_t nodes = 0;    // in the image
  std::size_t reused = 0;     // layers taken from another image
};

// A layer as another image of the store has it.
struct StoredLayer {
  std::shared_ptr<const base::Fd> image;
  LayerIndexReader index;
};

struct BuildOptions {
  Limits limits;
  std::filesystem::path layers;  // an existing directory: gets an index of each layer
  // Asked once for each layer that has a diff_id.
  std::function<std::optional<StoredLayer>(const model::Digest& diff_id)> stored;
};

// Writes into `file` (regular, O_RDWR) and syncs it. Everything is verified when this returns; on failure `file` holds
// rubbish, and `layers` the indexes of those layers that are complete and on the disk. `directory` is on the file
// system whose free space is watched. Blocks for as long as it takes.
base::Result<BuildStatistics> build_image(const FileSet& files, const BuildPlan& plan, const model::Digest& digest,
                                          base::Fd file, const base::Fd& directory, const BuildOptions& options);

}  // namespace cleanroom::image
