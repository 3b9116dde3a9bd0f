#pragma once
// LayerCheckpoints: the indexes of the layers that a build has finished. An index gets its name only after the bytes it
// speaks of are on the disk, so what a build that was killed leaves behind can be used by the next one.
#include "src/image/layer_index.h"
#include "src/model/digest.h"

#include <deque>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

namespace cleanroom::image {

class LayerCheckpoints {
 public:
  // `directory` exists; `image` is the file that is being built, borrowed.
  LayerCheckpoints(std::filesystem::path directory, const base::Fd& image)
      : directory_(std::move(directory)), image_(image) {}
  ~LayerCheckpoints();

  static std::string file_name(const model::Digest& diff_id) { return diff_id.hex() + ".layer"; }

  // The next layer.
  base::Result<LayerIndexWriter> begin(const model::Digest& diff_id);
  // It is complete and verified: its data fills `data`, and has been handed to the kernel. Now and then starts to sync.
  base::Result<void> complete(LayerIndexWriter writer, BlockRange data, std::uint64_t checksum);
  // The data of these layers is about to go from the image: their indexes are gone from the disk when this returns.
  base::Result<void> drop_if(const std::function<bool(BlockRange)>& lost);
  // Syncs the image and names all that is left. Blocks.
  base::Result<void> finish();

 private:
  struct Layer {
    std::filesystem::path temporary;
    std::filesystem::path target;
    std::optional<BlockRange> data;  // once it is complete
    bool named = false;
  };
  base::Result<void> name_first(std::size_t count);
  base::Result<void> name_synced();
  base::Result<void> settle();  // waits for the sync that is under way, and names what it covers

  std::filesystem::path directory_;
  const base::Fd& image_;
  std::deque<Layer> layers_;
  std::size_t syncing_ = 0;  // of layers_, how many the running sync covers
  std::uint64_t blocks_since_ = 0;
  std::thread sync_;
  int sync_errno_ = 0;
};

}  // namespace cleanroom::image
