#pragma once
// Builds the ext4 file of an image from its layers, in one pass over them.
#include "src/image/image_source.h"

namespace cleanroom::image {

struct BuildStatistics {
  std::uint64_t members = 0;  // of all layers
  std::uint64_t nodes = 0;    // in the image
};

// Writes into `file` (regular, O_RDWR). Everything is verified when this returns; on failure `file` holds rubbish.
// `directory` is on the file system whose free space is watched. Blocks for as long as it takes.
base::Result<BuildStatistics> build_image(const FileSet& files, const BuildPlan& plan, const model::Digest& digest,
                                          base::Fd file, const base::Fd& directory, const Limits& limits);

}  // namespace cleanroom::image
