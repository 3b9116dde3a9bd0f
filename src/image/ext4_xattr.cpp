#include "src/image/ext4_xattr.h"

#include "src/image/ext4_blocks.h"

#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <tuple>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;

struct Attribute {
  std::uint8_t index = 0;
  std::string name;  // without the prefix that `index` stands for
  std::string value;
};

struct Prefix {
  std::string_view text;
  std::uint8_t index;
  bool whole;
};
// Order matters: the ACL names stand before the prefix they begin with. Numbers: fs/ext4/xattr.h.
constexpr std::array kPrefixes = {
    Prefix{"system.posix_acl_access", 2, true},
    Prefix{"system.posix_acl_default", 3, true},
    Prefix{"user.", 1, false},
    Prefix{"trusted.", 4, false},
    Prefix{"security.", 6, false},
    Prefix{"system.", 7, false},
};

std::size_t padded(std::size_t size) {
  return (size + EXT2_EXT_ATTR_ROUND) & ~std::size_t{EXT2_EXT_ATTR_ROUND};
}
std::size_t entry_bytes(const Attribute& a) {
  return sizeof(ext2_ext_attr_entry) + padded(a.name.size());
}

template <class T>
T take(std::string_view& text) {
  T value;
  std::memcpy(&value, text.data(), sizeof value);
  text.remove_prefix(sizeof value);
  return value;
}
template <class T>
void put(std::string& text, T value) {
  text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// getxattr(2) gives ACL entries of eight bytes under version 2; the disk has version 1 and leaves out unused ids.
std::optional<std::string> acl_on_disk(std::string_view acl) {
  constexpr std::uint16_t kNamedUser = 0x02;
  constexpr std::uint16_t kNamedGroup = 0x08;
  if (acl.size() < 4 || (acl.size() - 4) % 8 != 0 || take<std::uint32_t>(acl) != 2) return std::nullopt;
  std::string out;
  put<std::uint32_t>(out, 1);
  while (!acl.empty()) {
    const auto tag = take<std::uint16_t>(acl);
    const auto permissions = take<std::uint16_t>(acl);
    const auto id = take<std::uint32_t>(acl);
    const bool known =
        tag == 0x01 || tag == kNamedUser || tag == 0x04 || tag == kNamedGroup || tag == 0x10 || tag == 0x20;
    if (!known || permissions > 7) return std::nullopt;
    put(out, tag);
    put(out, permissions);
    if (tag == kNamedUser || tag == kNamedGroup) put(out, id);
  }
  return out;
}

base::Result<Attribute> parse(const Xattr& xattr) {
  for (const Prefix& prefix : kPrefixes) {
    if (prefix.whole ? xattr.name != prefix.text : !xattr.name.starts_with(prefix.text)) continue;
    Attribute attribute{.index = prefix.index, .name = xattr.name.substr(prefix.text.size()), .value = xattr.value};
    if (attribute.name.size() > 255 || attribute.name.find('\0') != std::string::npos) break;
    if (!prefix.whole && attribute.name.empty()) break;
    if (prefix.whole) {
      auto acl = acl_on_disk(xattr.value);
      if (!acl) return fail(Code::invalid_input, fmt::format("the value of '{}' is not an ACL", xattr.name));
      attribute.value = std::move(*acl);
    }
    return attribute;
  }
  return fail(Code::invalid_input, fmt::format("'{}' is not an extended attribute that ext4 can hold", xattr.name));
}

// Entries grow from `first_entry` on, values from the end down; `value_base` is where value offsets count from.
void lay_out(std::vector<std::byte>& area, std::size_t first_entry, std::size_t value_base,
             const std::vector<Attribute>& attributes) {
  const bool with_hash = value_base == 0;  // entries in an inode carry none
  std::size_t at = first_entry;
  std::size_t end = area.size();
  for (const Attribute& a : attributes) {
    end -= padded(a.value.size());
    ext2_ext_attr_entry entry{};
    entry.e_name_len = static_cast<std::uint8_t>(a.name.size());
    entry.e_name_index = a.index;
    entry.e_value_size = static_cast<std::uint32_t>(a.value.size());
    if (!a.value.empty()) {
      entry.e_value_offs = static_cast<std::uint16_t>(end - value_base);
      std::memcpy(area.data() + end, a.value.data(), a.value.size());
    }
    std::memcpy(area.data() + at, &entry, sizeof entry);
    if (!a.name.empty()) std::memcpy(area.data() + at + sizeof entry, a.name.data(), a.name.size());
    if (with_hash) {
      auto* placed = reinterpret_cast<ext2_ext_attr_entry*>(area.data() + at);
      placed->e_hash = ext2fs_ext_attr_hash_entry(placed, area.data() + end);
    }
    at += entry_bytes(a);
  }
}

}  // namespace

base::Result<EncodedXattrs> encode_xattrs(const std::vector<Xattr>& xattrs) {
  std::vector<Attribute> attributes;
  std::size_t bytes = sizeof(std::uint32_t);  // the zero word that ends the entries
  for (const Xattr& xattr : xattrs) {
    CR_ASSIGN(Attribute attribute, parse(xattr));
    bytes += entry_bytes(attribute) + padded(attribute.value.size());
    attributes.push_back(std::move(attribute));
  }
  EncodedXattrs encoded;
  if (attributes.empty()) return encoded;
  if (bytes > kBlockSize - sizeof(ext2_ext_attr_header)) {
    return fail(Code::invalid_input, "image_limit", "its extended attributes do not fit into one block of 4096 bytes");
  }
  // The kernel searches a block in this order.
  const auto key = [](const Attribute& a) { return std::tuple(a.index, a.name.size(), std::string_view(a.name)); };
  std::sort(attributes.begin(), attributes.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  const auto twice = std::adjacent_find(attributes.begin(), attributes.end(),
                                        [&](const auto& a, const auto& b) { return key(a) == key(b); });
  if (twice != attributes.end()) {
    return fail(Code::invalid_input, fmt::format("the extended attribute '{}' is given twice", twice->name));
  }
  const std::uint32_t magic = EXT2_EXT_ATTR_MAGIC;
  if (bytes <= kInodeXattrBytes - sizeof magic) {
    encoded.in_inode.resize(kInodeXattrBytes);
    std::memcpy(encoded.in_inode.data(), &magic, sizeof magic);
    lay_out(encoded.in_inode, sizeof magic, sizeof magic, attributes);
    return encoded;
  }
  encoded.block.resize(kBlockSize);
  ext2_ext_attr_header header{};
  header.h_magic = EXT2_EXT_ATTR_MAGIC;
  header.h_refcount = 1;
  header.h_blocks = 1;
  std::memcpy(encoded.block.data(), &header, sizeof header);
  lay_out(encoded.block, sizeof header, 0, attributes);
  auto* placed = reinterpret_cast<ext2_ext_attr_header*>(encoded.block.data());
  ext2fs_ext_attr_block_rehash(placed, reinterpret_cast<ext2_ext_attr_entry*>(placed + 1));
  return encoded;
}

}  // namespace cleanroom::image
