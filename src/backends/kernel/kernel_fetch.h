#pragma once
// What comes from the distribution: its kernel, ready to boot, and its kernel source. Both are packages that apt
// verifies; the bundled scripts get them without root. Their messages go to this program's stderr.
#include "src/base/os/clock.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <filesystem>

namespace cleanroom::backends {

enum class Refresh { only_if_missing, look_for_newer };

// scripts/prepare-kernel: afterwards <data>/kernels has a distribution's kernel, which is current unless one that was
// built is. kernel_unavailable; cancelled when `interrupt` (may be null) becomes readable. Blocks for a download.
base::Result<void> fetch_distribution_kernel(Refresh refresh, const base::Fd* interrupt);

// scripts/fetch-kernel-source: afterwards find_distribution_source() finds it.
base::Result<void> fetch_distribution_source(Refresh refresh, const base::Fd* interrupt);

}  // namespace cleanroom::backends
