#pragma once
// Extended attributes in ext4's form: in the tail of the inode when they fit there, else in one block of their own.
#include "src/base/os/result.h"
#include "src/image/tree_entry.h"

#include <cstddef>
#include <span>
#include <vector>

namespace cleanroom::image {

inline constexpr std::size_t kInodeXattrBytes = 96;  // 256-byte inode less 128 and an i_extra_isize of 32

struct EncodedXattrs {
  std::vector<std::byte> in_inode;  // empty, or kInodeXattrBytes to stand after i_extra_isize
  std::vector<std::byte> block;     // empty, or one block that i_file_acl names
};

// invalid_input: a name outside user., trusted., security., system., a name given twice, a malformed ACL.
// image_limit: more than one block of them.
base::Result<EncodedXattrs> encode_xattrs(const std::vector<Xattr>& xattrs);

}  // namespace cleanroom::image
