#include "src/image/image_tree.h"

#include "src/image/image_error.h"

#include <algorithm>

namespace cleanroom::image {
namespace {

using base::Result;

constexpr int kMaxSymlinks = 40;  // as the kernel has it
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
// Files that AUFS kept in its layers; old images still have them.
constexpr std::array<std::string_view, 3> kAufsFiles = {".wh..wh.aufs", ".wh..wh.orph", ".wh..wh.plnk"};

std::string_view last_component(std::string_view path) {
  while (path.ends_with('/'))
    path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// overlayfs reads these of the lower directory too: an image must not steer it. The others ext4 on Linux cannot hold.
bool keeps_xattr(const std::string& name) {
  if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) return false;
  return name.starts_with("user.") || name.starts_with("trusted.") || name.starts_with("security.") ||
         name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

}  // namespace

std::size_t ImageTree::Hash::operator()(const Key& key) const {
  return std::hash<std::string_view>()(key.name) ^ (std::size_t{key.parent} * 0x9e3779b97f4a7c15u);
}

bool ImageTree::Equal::operator()(const Key& a, NodeId b) const {
  const Key other = tree->key(b);
  return a.parent == other.parent && a.name == other.name;
}

ImageTree::ImageTree(const Limits& limits, std::function<void(const FileData&)> release)
    : limits_(limits), release_(std::move(release)), index_(0, Hash{this}, Equal{this}) {
  inodes_.push_back({.names = 1});
  nodes_.push_back({});
}

bool ImageTree::is_whiteout(std::string_view name) {
  return last_component(name).starts_with(kWhiteout);
}

ImageTree::NodeId ImageTree::find(NodeId parent, std::string_view name) const {
  const auto found = index_.find(Key{parent, name});
  return found == index_.end() ? kNone : *found;
}

Result<void> ImageTree::charge(std::size_t bytes) {
  text_bytes_ += bytes;
  if (text_bytes_ <= limits_.text_bytes) return {};
  return image_limit("the names, link targets and attributes of the image are too large together");
}

Result<ImageTree::Names> ImageTree::split(std::string_view path) const {
  if (path.empty()) return image_invalid("a member has no name");
  if (path.size() > limits_.path_bytes)
    return image_limit(fmt::format("'{}' is longer than {} bytes", shown(path), limits_.path_bytes));
  if (path.find('\0') != std::string_view::npos) return image_invalid(fmt::format("'{}' holds a NUL", shown(path)));
  Names names;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view name = path.substr(at, slash - at);
    at = slash + 1;
    if (name.empty() || name == ".") continue;
    if (name == "..") return image_invalid(fmt::format("'{}' leads upwards", shown(path)));
    if (name.size() > limits_.name_bytes)
      return image_limit(fmt::format("a part of '{}' is longer than {} bytes", shown(path), limits_.name_bytes));
    names.push_back(name);
  }
  if (names.size() > limits_.depth)
    return image_limit(fmt::format("'{}' is deeper than {} directories", shown(path), limits_.depth));
  return names;
}

Result<std::uint32_t> ImageTree::new_inode() {
  if (!free_inodes_.empty()) {
    const std::uint32_t inode = free_inodes_.back();
    free_inodes_.pop_back();
    inodes_[inode] = {.text = inodes_[inode].text};  // its slot is used again too
    return inode;
  }
  inodes_.emplace_back();
  return static_cast<std::uint32_t>(inodes_.size() - 1);
}

void ImageTree::drop_inode(std::uint32_t inode) {
  if (--inodes_[inode].names > 0) return;
  if (inodes_[inode].text) texts_[inodes_[inode].text - 1] = {};
  free_inodes_.push_back(inode);
  release_(inodes_[inode].data);
}

Result<ImageTree::NodeId> ImageTree::make(NodeId parent, std::string_view name, std::uint32_t inode) {
  std::size_t depth = 1;
  for (NodeId up = parent; up != kRoot; up = nodes_[up].parent)
    ++depth;
  if (depth > limits_.depth)
    return image_limit(fmt::format("'{}' is deeper than {} directories", shown(name), limits_.depth));
  CR_TRY(charge(name.size()));
  NodeId id = static_cast<NodeId>(nodes_.size());
  if (free_nodes_.empty()) {
    nodes_.emplace_back();
  } else {
    id = free_nodes_.back();
    free_nodes_.pop_back();
  }
  const NodeId sibling = nodes_[parent].first_child;
  nodes_[id] = {.name = names_.keep(name),
                .name_length = static_cast<std::uint8_t>(name.size()),
                .layer = layer_,
                .parent = parent,
                .next = sibling,
                .inode = inode};
  if (sibling != kNone) nodes_[sibling].previous = id;
  nodes_[parent].first_child = id;
  ++inodes_[inode].names;
  index_.insert(id);
  return id;
}

Result<ImageTree::NodeId> ImageTree::make_directory(NodeId parent, std::string_view name) {
  CR_ASSIGN(const std::uint32_t inode, new_inode());
  return make(parent, name, inode);
}

void ImageTree::remove(NodeId id) {
  while (nodes_[id].first_child != kNone)
    remove(nodes_[id].first_child);
  index_.erase(id);
  const Node node = nodes_[id];
  if (node.previous == kNone)
    nodes_[node.parent].first_child = node.next;
  else
    nodes_[node.previous].next = node.next;
  if (node.next != kNone) nodes_[node.next].previous = node.previous;
  free_nodes_.push_back(id);
  drop_inode(node.inode);
}

void ImageTree::remove_lower_children(NodeId id) {
  for (NodeId child = nodes_[id].first_child; child != kNone;) {
    const NodeId next = nodes_[child].next;
    remove_lower(child);
    child = next;
  }
}

// Removes what lower layers brought; true when the node itself is gone. A directory stays while something in it stays.
bool ImageTree::remove_lower(NodeId id) {
  remove_lower_children(id);
  if (nodes_[id].layer == layer_ || nodes_[id].first_child != kNone) return false;
  remove(id);
  return true;
}

// One component that is no symlink: into a directory, making or replacing what stands in the way.
Result<ImageTree::NodeId> ImageTree::step(NodeId at, std::string_view name, Missing missing) {
  const NodeId child = find(at, name);
  if (child != kNone && is_directory(child)) return child;
  if (missing == Missing::stop) return kNone;
  // The names of members are checked before; this one stands in a symlink's target.
  if (name.starts_with(kWhiteout))
    return image_invalid(fmt::format("a symlink leads into the whiteout '{}'", shown(name)));
  if (child != kNone) {
    if (nodes_[child].layer == layer_) {
      return image_invalid(fmt::format("'{}' is a directory and not a directory in one layer", shown(name)));
    }
    remove(child);
  }
  return make_directory(at, name);
}

Result<ImageTree::NodeId> ImageTree::resolve(const Names& names, Missing missing) {
  // What is still to go, the next component last.
  std::vector<std::string_view> rest(names.rbegin(), names.rend());
  NodeId at = kRoot;
  int symlinks = 0;
  while (!rest.empty()) {
    const std::string_view name = rest.back();
    rest.pop_back();
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      if (at != kRoot) at = nodes_[at].parent;
      continue;
    }
    const NodeId child = find(at, name);
    if (child != kNone && inodes_[nodes_[child].inode].kind == EntryKind::symlink) {
      if (++symlinks > kMaxSymlinks)
        return image_invalid(fmt::format("'{}' leads through too many symlinks", shown(name)));
      const std::string_view target = texts_[inodes_[nodes_[child].inode].text - 1].target;
      if (target.starts_with('/')) at = kRoot;
      for (std::size_t end = target.size();;) {
        const std::size_t slash = end == 0 ? std::string_view::npos : target.rfind('/', end - 1);
        const std::size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
        rest.push_back(target.substr(begin, end - begin));
        if (slash == std::string_view::npos) break;
        end = slash;
      }
      continue;
    }
    if (name.size() > limits_.name_bytes)
      return image_limit(fmt::format("'{}' is longer than {} bytes", shown(name), limits_.name_bytes));
    CR_ASSIGN(at, step(at, name, missing));
    if (at == kNone) return kNone;
  }
  return at;
}

Result<void> ImageTree::fill(std::uint32_t id, const TarMember& member, const FileData& data) {
  Inode& inode = inodes_[id];
  inode.kind = member.kind;
  inode.mode = static_cast<std::uint16_t>(member.mode & 07777);
  inode.uid = member.uid;
  inode.gid = member.gid;
  inode.mtime = member.mtime;
  inode.device_major = member.device_major;
  inode.device_minor = member.device_minor;
  inode.data = data;
  Text text;
  if (member.kind == EntryKind::symlink) {
    text.target = member.link_name;
    if (text.target.empty() || text.target.size() >= limits_.path_bytes ||
        text.target.find('\0') != std::string::npos) {
      return image_invalid(fmt::format("the symlink '{}' has no usable target", shown(member.name)));
    }
    CR_TRY(charge(text.target.size()));
  }
  for (const Xattr& xattr : member.xattrs) {
    if (!keeps_xattr(xattr.name)) continue;
    CR_TRY(charge(xattr.name.size() + xattr.value.size()));
    text.xattrs.push_back(xattr);
  }
  if (inode.text == 0 && text.target.empty() && text.xattrs.empty()) return {};
  if (inode.text == 0) {
    texts_.emplace_back();
    inode.text = static_cast<std::uint32_t>(texts_.size());
  }
  texts_[inode.text - 1] = std::move(text);
  return {};
}

Result<void> ImageTree::put_hardlink(const TarMember& member, NodeId parent, std::string_view name) {
  const auto refused = [&](std::string_view why) {
    return image_invalid(fmt::format("the hardlink '{}' to '{}' {}", shown(member.name), shown(member.link_name), why));
  };
  CR_ASSIGN(Names target, split(member.link_name));
  if (target.empty()) return refused("leads to a directory");
  const std::string_view target_name = target.back();
  target.pop_back();
  CR_ASSIGN(const NodeId directory, resolve(target, Missing::stop));
  const NodeId linked = directory == kNone ? kNone : find(directory, target_name);
  if (linked == kNone) return refused("leads to nothing in the image");
  if (is_directory(linked)) return refused("leads to a directory");
  const NodeId existing = find(parent, name);
  if (existing == linked) return refused("leads to itself");
  const std::uint32_t inode = nodes_[linked].inode;
  ++inodes_[inode].names;  // held while what stands in the way goes
  if (existing != kNone) remove(existing);
  const auto made = make(parent, name, inode);
  --inodes_[inode].names;
  if (!made) return base::fail(made.error());
  return {};
}

Result<void> ImageTree::put(const TarMember& member, const FileData& data) {
  CR_ASSIGN(Names names, split(member.name));
  for (const std::string_view name : names) {
    if (name.starts_with(kWhiteout)) return image_invalid(fmt::format("'{}' is inside a whiteout", shown(member.name)));
  }
  if (names.empty()) {
    if (member.kind != EntryKind::directory) return image_invalid("the root of the image is not a directory");
    return fill(nodes_[kRoot].inode, member, {});
  }
  const std::string_view name = names.back();
  names.pop_back();
  CR_ASSIGN(const NodeId parent, resolve(names, Missing::create));
  if (member.kind == EntryKind::hardlink) return put_hardlink(member, parent, name);
  const NodeId existing = find(parent, name);
  if (existing != kNone) {
    if (member.kind == EntryKind::directory && is_directory(existing)) {
      nodes_[existing].layer = layer_;
      return fill(nodes_[existing].inode, member, {});
    }
    remove(existing);
  }
  CR_ASSIGN(const std::uint32_t inode, new_inode());
  CR_TRY(fill(inode, member, data));
  const auto made = make(parent, name, inode);
  if (!made) return base::fail(made.error());
  return {};
}

Result<void> ImageTree::whiteout(const TarMember& member) {
  CR_ASSIGN(Names names, split(member.name));
  const std::string_view last = names.back();
  names.pop_back();
  const std::string_view hidden = last.substr(kWhiteout.size());
  for (const std::string_view name : names) {
    if (name.starts_with(kWhiteout)) return image_invalid(fmt::format("'{}' is inside a whiteout", shown(member.name)));
  }
  if (std::find(kAufsFiles.begin(), kAufsFiles.end(), last) != kAufsFiles.end()) return {};
  const bool opaque = last == kOpaque;
  if (member.kind != EntryKind::file || member.size != 0 || member.name.ends_with('/')) {
    return image_invalid(fmt::format("the whiteout '{}' is not an empty file", shown(member.name)));
  }
  if (!opaque && (hidden.empty() || hidden == "." || hidden == ".." || hidden.starts_with(kWhiteout))) {
    return image_invalid(fmt::format("'{}' is not a whiteout of anything", shown(member.name)));
  }
  CR_ASSIGN(const NodeId parent, resolve(names, Missing::stop));
  if (parent == kNone) return {};
  if (opaque) {
    remove_lower_children(parent);
    return {};
  }
  const NodeId target = find(parent, hidden);
  if (target != kNone) remove_lower(target);
  return {};
}

std::string ImageTree::path_of(NodeId id) const {
  std::string path;
  for (; id != kRoot; id = nodes_[id].parent) {
    path.insert(0, name_of(id));
    if (nodes_[id].parent != kRoot) path.insert(0, 1, '/');
  }
  return path;
}

Result<void> ImageTree::emit(Ext4Writer& writer) const {
  std::vector<std::uint32_t> written(inodes_.size());  // the writer's number of an inode that has one
  std::vector<NodeId> pending{kRoot};
  while (!pending.empty()) {
    const NodeId id = pending.back();
    pending.pop_back();
    const Node& node = nodes_[id];
    const std::string path = path_of(id);
    const Inode& inode = inodes_[node.inode];
    TreeEntry entry{
        .path = path, .kind = inode.kind, .mode = inode.mode, .uid = inode.uid, .gid = inode.gid, .mtime = inode.mtime};
    if (const std::uint32_t first = written[node.inode]; first != 0) {
      entry.kind = EntryKind::hardlink;
      entry.hardlink_to = first;
    } else if (inode.text) {
      entry.link_target = texts_[inode.text - 1].target;
      entry.xattrs = texts_[inode.text - 1].xattrs;
    }
    entry.device_major = inode.device_major;
    entry.device_minor = inode.device_minor;
    auto added = writer.add_stored(entry, inode.data);
    if (!added) {
      if (added.error().reason.empty()) added.error().reason = "image_invalid";
      return base::fail(std::move(added.error()).with_context(fmt::format("'{}'", shown(path))));
    }
    written[node.inode] = *added;
    const std::size_t before = pending.size();
    for (NodeId child = node.first_child; child != kNone; child = nodes_[child].next)
      pending.push_back(child);
    std::sort(pending.begin() + static_cast<std::ptrdiff_t>(before), pending.end(),
              [this](NodeId a, NodeId b) { return name_of(a) > name_of(b); });
  }
  return {};
}

}  // namespace cleanroom::image
