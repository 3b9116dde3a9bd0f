#include "src/image/layer_checkpoints.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace cleanroom::image {
namespace {

using base::Result;

constexpr std::uint64_t kBlocksBetween = 64u * 256;  // 64 MiB: what a killed build may lose, apart from its last layer

}  // namespace

LayerCheckpoints::~LayerCheckpoints() {
  if (sync_.joinable()) sync_.join();
}

Result<LayerIndexWriter> LayerCheckpoints::begin(const model::Digest& diff_id) {
  layers_.push_back(
      {.temporary = directory_ / fmt::format("{}.tmp", layers_.size()), .target = directory_ / file_name(diff_id)});
  return LayerIndexWriter::create(layers_.back().temporary);
}

Result<void> LayerCheckpoints::complete(LayerIndexWriter writer, BlockRange data, std::uint64_t checksum) {
  CR_TRY(writer.close(data, checksum));
  layers_.back().data = data;
  blocks_since_ += data.count;
  if (blocks_since_ < kBlocksBetween) return {};
  CR_TRY(settle());
  blocks_since_ = 0;
  syncing_ = layers_.size();
  const auto sync = [this] { sync_errno_ = ::fdatasync(image_.get()) == 0 ? 0 : errno; };
  try {
    sync_ = std::thread(sync);
  } catch (const std::system_error&) {
    sync();
    return name_synced();
  }
  return {};
}

Result<void> LayerCheckpoints::settle() {
  if (!sync_.joinable()) return {};
  sync_.join();
  return name_synced();
}

Result<void> LayerCheckpoints::name_synced() {
  if (sync_errno_ != 0) return base::fail(base::errno_error("sync", "the image", sync_errno_));
  return name_first(syncing_);
}

Result<void> LayerCheckpoints::name_first(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    Layer& layer = layers_[i];
    if (layer.named || !layer.data) continue;
    if (::rename(layer.temporary.c_str(), layer.target.c_str()) != 0)
      return base::fail(base::errno_error("name", layer.target.native()));
    layer.named = true;
  }
  return {};
}

Result<void> LayerCheckpoints::drop_if(const std::function<bool(BlockRange)>& lost) {
  CR_TRY(settle());
  for (Layer& layer : layers_) {
    if (!layer.data || !lost(*layer.data)) continue;
    // Fails only for a file that is not there, which is what is wanted.
    ::unlink(layer.named ? layer.target.c_str() : layer.temporary.c_str());
    layer.data.reset();
  }
  CR_ASSIGN(const base::Fd directory, base::open_file(directory_, O_RDONLY | O_DIRECTORY));
  return ::fsync(directory.get()) == 0 ? Result<void>() : base::fail(base::errno_error("sync", directory_.native()));
}

Result<void> LayerCheckpoints::finish() {
  CR_TRY(settle());
  if (::fdatasync(image_.get()) != 0) return base::fail(base::errno_error("sync", "the image"));
  return name_first(layers_.size());
}

}  // namespace cleanroom::image
