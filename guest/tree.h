#pragma once
// Trees of the job's root as tar, in and out. These block, so they run in a child of the agent (file_exchange.h).
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <string>
#include <vector>

namespace cleanroom::guest {

inline constexpr std::size_t kMaxTreeEntries = 500'000;
inline constexpr std::size_t kMaxTreeDepth = 256;

// Writes what `patterns` match below `directory` to `to`, sorted by path. A directory that matches comes with all that
// is in it. Links and special files come as entries without data: who receives them judges. Nothing is followed.
// not_found: no such directory. failed_precondition: a file changed while it was read.
base::Result<void> send_tree(const base::Fd& root, const std::string& directory,
                             const std::vector<std::string>& patterns, const base::Fd& to);

// Unpacks the tar from `from` below `directory`, which is made if it is missing. Owner, mode and time are those of the
// entries. invalid_input: a broken archive, an unsafe path, a special file.
base::Result<void> receive_tree(const base::Fd& root, const std::string& directory, const base::Fd& from);

}  // namespace cleanroom::guest
