#pragma once
// ImageTree: the tree of an image in memory while its layers are applied from the lowest up. It is the only place where
// names from an image are resolved: symlinks lead nowhere but to other nodes of the tree, whatever they say.
//
// Rules (OCI image-spec layer.md, and what umoci and containerd do where it is silent):
// - an entry's parent directories are resolved through symlinks within the tree, its last component never is;
// - missing parents become directories root:root 0755;
// - a directory over a directory changes its attributes and keeps its children; any other combination replaces;
// - a whiteout hides what lower layers brought, never what its own layer brings, in whatever order they come;
// - '..' in a member's or hardlink's name is refused; leading '/' and './' mean nothing.
#include "src/base/os/result.h"
#include "src/image/ext4_writer.h"
#include "src/image/limits.h"
#include "src/image/name_arena.h"
#include "src/image/tar_reader.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace cleanroom::image {

class ImageTree {
 public:
  // `release` is called for the content of every file that loses its last name.
  ImageTree(const Limits& limits, std::function<void(const FileData&)> release);
  ImageTree(const ImageTree&) = delete;
  ImageTree& operator=(const ImageTree&) = delete;

  // From now on entries belong to the next layer.
  void begin_layer() { ++layer_; }
  // A member that is no whiteout. `data` is where its content is. image_invalid, image_limit.
  base::Result<void> put(const TarMember& member, const FileData& data);
  // `.wh.<name>` and `.wh..wh..opq`: `name` is the whole name of the member. Nothing happens when it hides nothing.
  base::Result<void> whiteout(const TarMember& member);
  static bool is_whiteout(std::string_view name);

  // Adds everything to `writer`: parents first, names in byte order.
  base::Result<void> emit(Ext4Writer& writer) const;
  std::size_t node_count() const { return index_.size() + 1; }

 private:
  using NodeId = std::uint32_t;
  using Names = std::vector<std::string_view>;
  static constexpr NodeId kNone = 0xffffffff;
  static constexpr NodeId kRoot = 0;

  struct Inode {
    EntryKind kind = EntryKind::directory;
    std::uint16_t mode = 0755;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint32_t names = 0;
    std::uint32_t device_major = 0;
    std::uint32_t device_minor = 0;
    std::uint32_t text = 0;  // 1 + index into texts_: symlink target and xattrs, where there are any
    Timestamp mtime;
    FileData data;
  };
  struct Node {
    const char* name = nullptr;
    std::uint8_t name_length = 0;
    std::uint16_t layer = 0;  // the last one that brought it
    NodeId parent = kNone;
    NodeId first_child = kNone;
    NodeId next = kNone;
    NodeId previous = kNone;
    std::uint32_t inode = 0;
  };
  struct Text {
    std::string target;
    std::vector<Xattr> xattrs;
  };
  struct Key {
    NodeId parent;
    std::string_view name;
  };
  struct Hash {
    using is_transparent = void;
    const ImageTree* tree;
    std::size_t operator()(const Key& key) const;
    std::size_t operator()(NodeId id) const { return (*this)(tree->key(id)); }
  };
  struct Equal {
    using is_transparent = void;
    const ImageTree* tree;
    bool operator()(NodeId a, NodeId b) const { return a == b; }
    bool operator()(const Key& a, NodeId b) const;
    bool operator()(NodeId a, const Key& b) const { return (*this)(b, a); }
  };
  enum class Missing { create, stop };

  Key key(NodeId id) const { return {nodes_[id].parent, name_of(id)}; }
  std::string_view name_of(NodeId id) const { return {nodes_[id].name, nodes_[id].name_length}; }
  std::string path_of(NodeId id) const;
  bool is_directory(NodeId id) const { return inodes_[nodes_[id].inode].kind == EntryKind::directory; }
  NodeId find(NodeId parent, std::string_view name) const;
  base::Result<Names> split(std::string_view path) const;
  // The directory that `names` lead to; kNone where something is missing and `missing` says stop.
  base::Result<NodeId> resolve(const Names& names, Missing missing);
  base::Result<NodeId> make(NodeId parent, std::string_view name, std::uint32_t inode);
  base::Result<NodeId> make_directory(NodeId parent, std::string_view name);
  base::Result<NodeId> step(NodeId at, std::string_view name, Missing missing);
  void remove(NodeId id);
  bool remove_lower(NodeId id);
  void remove_lower_children(NodeId id);
  base::Result<std::uint32_t> new_inode();
  void drop_inode(std::uint32_t inode);
  base::Result<void> fill(std::uint32_t inode, const TarMember& member, const FileData& data);
  base::Result<void> put_hardlink(const TarMember& member, NodeId parent, std::string_view name);
  base::Result<void> charge(std::size_t bytes);

  const Limits limits_;
  std::function<void(const FileData&)> release_;
  std::uint16_t layer_ = 0;
  std::deque<Node> nodes_;
  std::deque<Inode> inodes_;
  std::deque<Text> texts_;
  std::vector<NodeId> free_nodes_;
  std::vector<std::uint32_t> free_inodes_;
  NameArena names_;
  std::size_t text_bytes_ = 0;
  std::unordered_set<NodeId, Hash, Equal> index_;
};

}  // namespace cleanroom::image
