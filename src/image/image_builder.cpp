#include "src/image/image_builder.h"

#include "src/image/image_error.h"
#include "src/image/image_tree.h"

namespace cleanroom::image {
namespace {

using base::Result;

Result<void> apply_layer(LayerStream& stream, ImageTree& tree, Ext4Writer& writer, std::uint64_t& members,
                         const Limits& limits) {
  TarReader tar(stream);
  TarMember member;
  tree.begin_layer();
  for (;;) {
    CR_ASSIGN(const bool more, tar.next(member));
    if (!more) return stream.finish();
    if (++members > limits.entries)
      return image_limit(fmt::format("the layers have more than {} entries", limits.entries));
    if (ImageTree::is_whiteout(member.name)) {
      CR_TRY(tree.whiteout(member));
      continue;
    }
    FileData data;
    if (member.size > 0) {
      CR_ASSIGN(data, writer.store_data(tar, member.size));
    }
    CR_TRY(tree.put(member, data));
  }
}

}  // namespace

Result<BuildStatistics> build_image(const FileSet& files, const BuildPlan& plan, const model::Digest& digest,
                                    base::Fd file, const base::Fd& directory, const Limits& limits) {
  CR_ASSIGN(Ext4Writer writer, Ext4Writer::create(std::move(file), {.max_bytes = limits.expanded_bytes,
                                                                    .label = "cleanroom-root",
                                                                    .seed = digest.to_string()}));
  ImageTree tree(limits, [&writer](const FileData& data) { return writer.discard_data(data); });
  ExpansionBudget budget(limits, directory);
  BuildStatistics statistics;
  for (const LayerPlan& layer : plan.layers) {
    CR_ASSIGN(auto blob, files.open(layer.file));
    if (layer.expected.size && blob->size() != *layer.expected.size) {
      return image_invalid(fmt::format("the blob '{}' has {} bytes, its descriptor says {}", shown(layer.file),
                                       blob->size(), *layer.expected.size));
    }
    CR_ASSIGN(const auto stream, LayerStream::open(std::move(blob), layer.expected, budget));
    auto applied = apply_layer(*stream, tree, writer, statistics.members, limits);
    if (!applied)
      return base::fail(std::move(applied.error()).with_context(fmt::format("layer '{}'", shown(layer.file))));
  }
  statistics.nodes = tree.node_count();
  CR_TRY(tree.emit(writer));
  CR_TRY(writer.finish());
  return statistics;
}

}  // namespace cleanroom::image
