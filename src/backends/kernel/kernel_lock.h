#pragma once
// KernelLock: flock(2) on a file in the kernels folder; scripts/prepare-kernel takes the same one to publish. The
// kernel of this host drops it when its holder dies.
#include "src/base/os/clock.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <filesystem>

namespace cleanroom::backends {

class KernelLock {
 public:
  // Makes the file when it is not there. timeout: another process has held it until `deadline`; cancelled: `interrupt`
  // (may be null, borrowed) became readable. Blocks that long.
  static base::Result<KernelLock> take(const std::filesystem::path& file, base::Deadline deadline,
                                       const base::Fd* interrupt = nullptr);

 private:
  explicit KernelLock(base::Fd fd) : fd_(std::move(fd)) {}
  base::Fd fd_;
};

}  // namespace cleanroom::backends
