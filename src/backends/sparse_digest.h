#pragma once
// The digest of a sparse file, a guest's memory or disk: of what it holds, whatever of it is a hole and whatever is
// written zeros.
#include "src/base/net/gmac.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <cstdint>
#include <string>

namespace cleanroom::backends {

struct SparseDigest {
  std::string tag;         // GMAC of every chunk that is not all zeros, each after its offset, and of the length
  std::uint64_t size = 0;  // of the file
};

// Blocks: reads all that is not a hole, about 0.2 ms a MiB that is cached. Not for a file that is being written.
base::Result<SparseDigest> digest_sparse(const base::Fd& file, const base::GmacKey& key);

}  // namespace cleanroom::backends
