#pragma once
// Files with holes: which parts are data, and a copy of those alone. Where a file system knows no holes, all is data.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <cstdint>

namespace cleanroom::base {

struct DataRun {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// The first run of data that ends after `from`, cut there; empty, at `size`, when only a hole follows.
Result<DataRun> next_data_run(const Fd& file, std::uint64_t from, std::uint64_t size);

// The data of `from` at the same places of `to`, which gets its length. `to` must hold nothing; its position may move.
// Shares blocks where the file system can (copy_file_range(2)). Blocks on disk I/O.
Result<void> copy_sparse(const Fd& from, const Fd& to);

}  // namespace cleanroom::base
