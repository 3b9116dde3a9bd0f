// F12. ImageTree makes of any layers what a plain model makes of them: a map of paths, with the rules of the OCI layer
// specification as image_tree.h words them. The same layers are refused, the same tree comes out, content is released
// once when its last name goes and never before; and where no name is a link, whiteouts may stand anywhere in a layer.
#include "src/image/image_tree.h"
#include "tests/fuzz/image/recorder.h"
#include "tests/fuzz/support.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <map>
#include <optional>

using namespace cleanroom;
using image::EntryKind;
using image::TarMember;

namespace {

using Layer = std::vector<TarMember>;

// Few names, so that members meet.
constexpr const char* kNames[] = {"a", "b", "c", "a-", "d"};
constexpr const char* kOddNames[] = {".", "..", "", ".wh.a", "name too long"};
constexpr EntryKind kKinds[] = {EntryKind::file,    EntryKind::file,     EntryKind::directory, EntryKind::directory,
                                EntryKind::symlink, EntryKind::hardlink, EntryKind::fifo,      EntryKind::char_device};
const image::Limits kLimits = {.depth = 6, .path_bytes = 64, .name_bytes = 8};

std::string some_path(FuzzedDataProvider& input) {
  std::string path = input.ConsumeIntegralInRange(0, 7) == 0 ? "/" : "";
  for (int left = input.ConsumeIntegralInRange(1, 4); left > 0; --left) {
    const std::size_t pick = input.ConsumeIntegralInRange<std::size_t>(0, 63);
    path += pick < 60 ? kNames[pick % std::size(kNames)] : kOddNames[input.ConsumeIntegralInRange(0, 4)];
    if (left > 1) path += '/';
  }
  return path;
}

TarMember some_member(FuzzedDataProvider& input) {
  TarMember member{.name = some_path(input)};
  const int what = input.ConsumeIntegralInRange(0, 11);
  if (what < 8) {
    member.kind = kKinds[what];
    member.mode = input.ConsumeIntegralInRange(0u, 07777u);
    member.size = member.kind == EntryKind::file ? input.ConsumeIntegralInRange(0u, 2u) : 0;
    if (member.kind == EntryKind::hardlink) member.link_name = some_path(input);
    if (member.kind == EntryKind::symlink) {
      const int form = input.ConsumeIntegralInRange(0, 3);
      member.link_name = (form == 0 ? "/" : form == 1 ? "../" : form == 2 ? "../../" : "") + some_path(input);
    }
    if (input.ConsumeIntegralInRange(0, 7) == 0) member.name += '/';
    if (member.kind != EntryKind::hardlink && member.mode % 8 == 0)
      member.xattrs = {{member.mode % 16 ? "user.a" : "trusted.overlay.opaque", "v"}};
  } else if (what < 11) {
    const std::size_t slash = member.name.rfind('/');
    member.name.insert(slash == std::string::npos ? 0 : slash + 1, ".wh.");
  } else {
    member.name += input.ConsumeBool() ? "/.wh..wh..opq" : "/.wh..wh.plnk";
  }
  return member;
}

std::vector<Layer> some_layers(FuzzedDataProvider& input) {
  std::vector<Layer> layers(static_cast<std::size_t>(input.ConsumeIntegralInRange(1, 4)));
  for (Layer& layer : layers) {
    for (int left = input.ConsumeIntegralInRange(0, 12); left > 0; --left)
      layer.push_back(some_member(input));
  }
  return layers;
}

struct ModelInode {
  TarMember member;
  image::FileData data;
};
struct ModelNode {
  std::size_t layer = 0;
  std::shared_ptr<ModelInode> inode;
};

std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    parts.emplace_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}
std::string below(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}
std::size_t depth_of(const std::string& path) {
  return parts_of(path).size();
}

// Each function is false, or nothing, where the layers are refused.
class Model {
 public:
  Model() { root_->member = {.kind = EntryKind::directory, .mode = 0755}; }

  bool apply(const TarMember& member, std::size_t layer, const image::FileData& data) {
    layer_ = layer;
    auto parts = checked(member.name);
    if (!parts) return false;
    const std::string plain = parts->empty() ? "" : parts->back();
    for (std::size_t i = 0; i + 1 < parts->size(); ++i) {
      if ((*parts)[i].starts_with(".wh.")) return false;
    }
    if (plain.starts_with(".wh.")) {
      // "x/.wh.a/." names something inside of a whiteout.
      if (member.name.ends_with("/.")) return false;
      return whiteout(std::move(*parts), member);
    }
    return put(std::move(*parts), member, data);
  }

  const std::map<std::string, ModelNode>& nodes() const { return nodes_; }
  const TarMember& root() const { return root_->member; }

 private:
  static std::optional<std::vector<std::string>> checked(const std::string& path) {
    if (path.empty() || path.size() > kLimits.path_bytes) return std::nullopt;
    std::vector<std::string> parts;
    for (const std::string& part : parts_of(path)) {
      if (part == ".." || part.size() > kLimits.name_bytes) return std::nullopt;
      if (!part.empty() && part != ".") parts.push_back(part);
    }
    if (parts.size() > kLimits.depth) return std::nullopt;
    return parts;
  }

  bool is(const std::string& path, EntryKind kind) const {
    const auto found = nodes_.find(path);
    if (path.empty()) return kind == EntryKind::directory;
    return found != nodes_.end() && found->second.inode->member.kind == kind;
  }
  bool is_or_is_below(const std::string& path, const std::string& directory) const {
    return path == directory || path.starts_with(directory + "/");
  }
  void remove(const std::string& path) {
    std::erase_if(nodes_, [&](const auto& node) { return is_or_is_below(node.first, path); });
  }
  bool make(const std::string& path, std::shared_ptr<ModelInode> inode) {
    if (depth_of(path) > kLimits.depth) return false;
    nodes_[path] = {layer_, std::move(inode)};
    return true;
  }

  enum class Missing { create, stop };
  struct Resolved {
    bool refused = false;
    bool found = true;
    std::string path;
  };
  Resolved resolve(std::vector<std::string> rest, Missing missing) {
    Resolved at;
    for (int links = 0; !rest.empty();) {
      const std::string name = rest.front();
      rest.erase(rest.begin());
      if (name.empty() || name == ".") continue;
      if (name == "..") {
        const std::size_t slash = at.path.rfind('/');
        at.path.resize(slash == std::string::npos ? 0 : slash);
        continue;
      }
      const std::string path = below(at.path, name);
      if (is(path, EntryKind::symlink)) {
        if (++links > 40) return {.refused = true};
        const std::string& target = nodes_[path].inode->member.link_name;
        if (target.starts_with('/')) at.path.clear();
        const auto more = parts_of(target);
        rest.insert(rest.begin(), more.begin(), more.end());
        continue;
      }
      if (name.size() > kLimits.name_bytes) return {.refused = true};
      if (!is(path, EntryKind::directory)) {
        if (missing == Missing::stop) return {.found = false};
        if (name.starts_with(".wh.")) return {.refused = true};
        const auto in_the_way = nodes_.find(path);
        if (in_the_way != nodes_.end() && in_the_way->second.layer == layer_) return {.refused = true};
        nodes_.erase(path);
        const ModelInode implied{.member = {.kind = EntryKind::directory, .mode = 0755}};
        if (!make(path, std::make_shared<ModelInode>(implied))) return {.refused = true};
      }
      at.path = path;
    }
    return at;
  }

  bool put(std::vector<std::string> parts, const TarMember& member, const image::FileData& data) {
    if (member.kind == EntryKind::symlink &&
        (member.link_name.empty() || member.link_name.size() >= kLimits.path_bytes))
      return false;
    if (parts.empty()) {
      if (member.kind == EntryKind::directory) root_->member = member;
      return member.kind == EntryKind::directory;
    }
    const std::string name = parts.back();
    parts.pop_back();
    const Resolved parent = resolve(parts, Missing::create);
    if (parent.refused) return false;
    const std::string path = below(parent.path, name);
    if (member.kind == EntryKind::hardlink) return link(path, member);
    if (member.kind == EntryKind::directory && is(path, EntryKind::directory)) {
      nodes_[path].inode->member = member;
      nodes_[path].layer = layer_;
      return true;
    }
    remove(path);
    return make(path, std::make_shared<ModelInode>(ModelInode{member, data}));
  }

  bool link(const std::string& path, const TarMember& member) {
    auto target = checked(member.link_name);
    if (!target || target->empty()) return false;
    const std::string last = target->back();
    target->pop_back();
    const Resolved directory = resolve(*target, Missing::stop);
    if (directory.refused || !directory.found) return false;
    const std::string linked = below(directory.path, last);
    const auto found = nodes_.find(linked);
    if (found == nodes_.end() || is(linked, EntryKind::directory) || linked == path) return false;
    const auto inode = found->second.inode;
    remove(path);
    return make(path, inode);
  }

  bool whiteout(std::vector<std::string> parts, const TarMember& member) {
    const std::string last = parts.back();
    const std::string hidden = last.substr(4);
    parts.pop_back();
    if (last == ".wh..wh.plnk") return true;
    const bool opaque = hidden == ".wh..opq";
    if (member.name.ends_with('/') || member.kind != EntryKind::file || member.size > 0) return false;
    if (!opaque && (hidden.empty() || hidden == "." || hidden == ".." || hidden.starts_with(".wh."))) return false;
    const Resolved parent = resolve(parts, Missing::stop);
    if (parent.refused) return false;
    if (!parent.found) return true;
    const std::string top = opaque ? parent.path : below(parent.path, hidden);
    for (;;) {  // what a lower layer brought and holds nothing goes, until nothing more does
      const auto goes = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& node) {
        const bool inside = top.empty() || is_or_is_below(node.first, top);
        return inside && !(opaque && node.first == top) && node.second.layer < layer_ && !has_children(node.first);
      });
      if (goes == nodes_.end()) return true;
      nodes_.erase(goes);
    }
  }
  bool has_children(const std::string& path) const {
    return std::any_of(nodes_.begin(), nodes_.end(),
                       [&](const auto& node) { return node.first.starts_with(path + "/"); });
  }

  std::size_t layer_ = 0;
  std::shared_ptr<ModelInode> root_ = std::make_shared<ModelInode>();
  std::map<std::string, ModelNode> nodes_;
};

bool keeps(const image::Xattr& xattr) {
  return xattr.name == "user.a";
}

void check_entry(const fuzz::RecordedEntry& got, const TarMember& wanted, const image::FileData& data) {
  const auto& entry = got.entry;
  FUZZ_CHECK(got.data.first_block == data.first_block);
  if (entry.kind == EntryKind::hardlink) return;
  FUZZ_CHECK(entry.kind == wanted.kind && entry.mode == wanted.mode);
  FUZZ_CHECK(entry.link_target == (wanted.kind == EntryKind::symlink ? wanted.link_name : ""));
  const auto kept = std::count_if(wanted.xattrs.begin(), wanted.xattrs.end(), keeps);
  FUZZ_CHECK(static_cast<std::ptrdiff_t>(entry.xattrs.size()) == kept);
}

void check_same(const fuzz::Recording& got, const Model& model) {
  check_paths(got.entries);
  FUZZ_CHECK(got.entries.size() == model.nodes().size() + 1);
  FUZZ_CHECK(got.entries.front().entry.path.empty());
  check_entry(got.entries.front(), model.root(), {});
  std::map<std::uint32_t, const ModelInode*> inodes;
  std::vector<bool> in_use(got.contents.size());
  for (const auto& recorded : got.entries) {
    if (recorded.entry.path.empty()) continue;
    const auto wanted = model.nodes().find(recorded.entry.path);
    FUZZ_CHECK(wanted != model.nodes().end());
    const ModelInode* const inode = wanted->second.inode.get();
    check_entry(recorded, inode->member, inode->data);
    const bool is_first = inodes.emplace(recorded.inode, inode).second;
    FUZZ_CHECK(inodes[recorded.inode] == inode);
    FUZZ_CHECK(is_first == (recorded.entry.kind != EntryKind::hardlink));
    if (inode->data.first_block != 0) in_use[inode->data.first_block - 1] = true;
  }
  for (std::size_t i = 0; i < in_use.size(); ++i)
    FUZZ_CHECK(in_use[i] != got.discarded[i]);
}

// The content of a file is a few bytes of its own.
class Bytes final : public image::ContentReader {
 public:
  base::Result<std::size_t> read(std::span<std::byte> into) override {
    std::fill(into.begin(), into.end(), std::byte{'x'});
    return into.size();
  }
};

// The tree of `layers` in recording(); nothing where they are refused. `model` may be null.
bool build(const std::vector<Layer>& layers, Model* model) {
  auto writer = image::Ext4Writer::create({}, {});
  image::ImageTree tree(kLimits, [&](const image::FileData& data) { writer->discard_data(data); });
  Bytes bytes;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    tree.begin_layer();
    for (const TarMember& member : layers[layer]) {
      image::FileData data;
      const bool whiteout = image::ImageTree::is_whiteout(member.name);
      if (!whiteout && member.size > 0) data = writer->store_data(bytes, member.size).value();
      const auto applied = whiteout ? tree.whiteout(member) : tree.put(member, data);
      if (model) FUZZ_CHECK(model->apply(member, layer + 1, data) == applied.has_value());
      if (!applied) {
        FUZZ_CHECK(applied.error().reason == "image_invalid" || applied.error().reason == "image_limit");
        return false;
      }
    }
  }
  FUZZ_CHECK(tree.emit(*writer));
  FUZZ_CHECK(tree.node_count() == fuzz::recording().entries.size());
  return true;
}

// The layers without links and odd names, where each directory on the way to a member is a member before it: no
// attribute is implied, so that a whiteout may come first or last.
std::vector<Layer> without_links(const std::vector<Layer>& layers) {
  const auto is_plain = [](const std::string& name) {
    return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
  };
  std::vector<Layer> out;
  for (const Layer& layer : layers) {
    out.emplace_back();
    for (const TarMember& member : layer) {
      if (member.kind == EntryKind::symlink || member.kind == EntryKind::hardlink) continue;
      auto directories = parts_of(member.name);
      if (directories.empty() || member.name.ends_with('/')) continue;
      const std::string last = directories.back();
      directories.pop_back();
      if (!std::all_of(directories.begin(), directories.end(), is_plain)) continue;
      if (!image::ImageTree::is_whiteout(member.name)) {
        if (!is_plain(last)) continue;
        std::string path;
        for (const std::string& directory : directories)
          out.back().push_back({.name = path = below(path, directory), .kind = EntryKind::directory, .mode = 0755});
      }
      out.back().push_back(member);
    }
  }
  return out;
}

void check_order_of_whiteouts(std::vector<Layer> layers) {
  if (!build(layers, nullptr)) return;
  const auto wanted = std::move(fuzz::recording().entries);
  for (Layer& layer : layers) {
    std::stable_partition(layer.begin(), layer.end(),
                          [](const TarMember& member) { return image::ImageTree::is_whiteout(member.name); });
  }
  FUZZ_CHECK(build(layers, nullptr));
  const auto& got = fuzz::recording().entries;
  FUZZ_CHECK(got.size() == wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    FUZZ_CHECK(got[i].entry.path == wanted[i].entry.path && got[i].entry.kind == wanted[i].entry.kind);
    FUZZ_CHECK(got[i].entry.mode == wanted[i].entry.mode && got[i].data.first_block == wanted[i].data.first_block);
  }
}

void show(const std::vector<Layer>& layers) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    for (const TarMember& member : layers[i])
      fmt::print(stderr, "layer {}: kind {} '{}' -> '{}' size {}\n", i + 1, static_cast<int>(member.kind), member.name,
                 member.link_name, member.size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  const std::vector<Layer> layers = some_layers(input);
  if (std::getenv("FUZZ_SHOW")) show(layers);
  Model model;
  if (build(layers, &model)) check_same(fuzz::recording(), model);
  check_order_of_whiteouts(without_links(layers));
  return 0;
}
