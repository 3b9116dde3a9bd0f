#include "src/image/image_builder.h"

#include "src/base/os/io.h"
#include "src/image/image_error.h"
#include "src/image/image_tree.h"
#include "src/image/layer_checkpoints.h"

#include <fcntl.h>

#include <algorithm>
#include <thread>

namespace cleanroom::image {
namespace {

using base::Result;

// Layers that are decompressed while the one before is being applied.
std::size_t layers_ahead() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency() / 2, 1, 4);
}

class Build {
 public:
  Build(const FileSet& files, const BuildPlan& plan, const BuildOptions& options, const base::Fd& file,
        const base::Fd& directory, Ext4Writer writer)
      : files_(files),
        plan_(plan),
        options_(options),
        writer_(std::move(writer)),
        tree_(options_.limits, [this](const FileData& data) { writer_.discard_data(data); }),
        budget_(options_.limits, directory),
        checkpoints_(options_.layers, file),
        streams_(plan.layers.size()) {}

  Result<BuildStatistics> run() {
    find_stored();
    for (std::size_t i = 0; i < plan_.layers.size(); ++i) {
      CR_TRY(open_ahead(i));
      auto applied = apply(i);
      streams_[i].reset();
      if (!applied) {
        return base::fail(
            std::move(applied.error()).with_context(fmt::format("layer '{}'", shown(plan_.layers[i].file))));
      }
    }
    statistics_.nodes = tree_.node_count();
    CR_TRY(tree_.emit(writer_));
    if (writer_.punches_holes())
      CR_TRY(checkpoints_.drop_if([this](BlockRange data) { return writer_.has_discarded(data); }));
    CR_TRY(writer_.finish());
    CR_TRY(checkpoints_.finish());
    return statistics_;
  }

 private:
  void find_stored();
  Result<void> open_ahead(std::size_t next);
  Result<void> apply(std::size_t i);
  Result<void> unpack(LayerStream& stream, LayerIndexWriter* index, std::uint32_t first_block);
  Result<void> reuse(StoredLayer& layer, LayerIndexWriter& index);
  Result<void> put(const TarMember& member, const FileData& data);

  const FileSet& files_;
  const BuildPlan& plan_;
  const BuildOptions& options_;
  Ext4Writer writer_;
  ImageTree tree_;
  ExpansionBudget budget_;
  LayerCheckpoints checkpoints_;
  std::vector<std::optional<StoredLayer>> stored_;
  std::vector<std::unique_ptr<LayerStream>> streams_;  // reads what is above: destroyed first
  BuildStatistics statistics_;
};

void Build::find_stored() {
  std::vector<std::string> wanted;
  for (const LayerPlan& layer : plan_.layers) {
    const bool known = options_.stored && layer.expected.diff_id;
    stored_.push_back(known ? options_.stored(*layer.expected.diff_id) : std::nullopt);
    if (!stored_.back()) wanted.push_back(layer.file);
  }
  files_.expect(wanted);
}

Result<void> Build::open_ahead(std::size_t next) {
  const std::size_t end = std::min(plan_.layers.size(), next + 1 + layers_ahead());
  for (std::size_t i = next; i < end; ++i) {
    if (stored_[i] || streams_[i]) continue;
    const LayerPlan& layer = plan_.layers[i];
    CR_ASSIGN(auto blob, files_.open(layer.file));
    if (layer.expected.size && blob->size() != *layer.expected.size) {
      return image_invalid(fmt::format("the blob '{}' has {} bytes, its descriptor says {}", shown(layer.file),
                                       blob->size(), *layer.expected.size));
    }
    CR_ASSIGN(streams_[i], LayerStream::open(std::move(blob), layer.expected, budget_));
  }
  return {};
}

Result<void> Build::put(const TarMember& member, const FileData& data) {
  if (++statistics_.members > options_.limits.entries)
    return image_limit(fmt::format("the layers have more than {} entries", options_.limits.entries));
  return ImageTree::is_whiteout(member.name) ? tree_.whiteout(member) : tree_.put(member, data);
}

Result<void> Build::apply(std::size_t i) {
  tree_.begin_layer();
  const std::uint32_t first = writer_.next_block();
  const auto& diff_id = plan_.layers[i].expected.diff_id;
  if (!diff_id) return unpack(*streams_[i], nullptr, first);
  CR_ASSIGN(LayerIndexWriter index, checkpoints_.begin(*diff_id));
  CR_TRY(stored_[i] ? reuse(*stored_[i], index) : unpack(*streams_[i], &index, first));
  CR_ASSIGN(std::uint64_t checksum, writer_.flush_stored());
  if (stored_[i]) checksum = stored_[i]->index.checksum();
  return checkpoints_.complete(std::move(index), {first, writer_.next_block() - first}, checksum);
}

Result<void> Build::unpack(LayerStream& stream, LayerIndexWriter* index, std::uint32_t first_block) {
  TarReader tar(stream);
  TarMember member;
  for (;;) {
    CR_ASSIGN(const bool more, tar.next(member));
    if (!more) return stream.finish();
    FileData data;
    if (member.size > 0) {
      CR_ASSIGN(data, writer_.store_data(tar, member.size));
    }
    if (index) {
      std::vector<Run> runs = writer_.runs_of(data);
      for (Run& run : runs)
        run.physical -= first_block;
      CR_TRY(index->add(member, runs));
    }
    CR_TRY(put(member, data));
  }
}

Result<void> Build::reuse(StoredLayer& layer, LayerIndexWriter& index) {
  CR_TRY(budget_.take(std::uint64_t{layer.index.data().count} * kBlockSize));
  CR_ASSIGN(const std::uint32_t first, writer_.adopt(*layer.image, layer.index.data()));
  TarMember member;
  std::vector<Run> runs;
  for (;;) {
    CR_ASSIGN(const bool more, layer.index.next(member, runs));
    if (!more) break;
    CR_TRY(index.add(member, runs));
    CR_TRY(put(member, writer_.file_in(first, member.size, runs)));
  }
  ++statistics_.reused;
  return {};
}

}  // namespace

Result<BuildStatistics> build_image(const FileSet& files, const BuildPlan& plan, const model::Digest& digest,
                                    base::Fd file, const base::Fd& directory, const BuildOptions& options) {
  const base::Fd synced(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  if (!synced) return base::fail(base::errno_error("duplicate", "the image file"));
  CR_ASSIGN(Ext4Writer writer, Ext4Writer::create(std::move(file), {.max_bytes = options.limits.expanded_bytes,
                                                                    .label = "cleanroom-root",
                                                                    .seed = digest.to_string(),
                                                                    .sync_follows = true}));
  return Build(files, plan, options, synced, directory, std::move(writer)).run();
}

}  // namespace cleanroom::image
