#pragma once
// Builds the trimmed guest kernel: unpack, configure (allnoconfig and the fragment), check that no line of the fragment
// was dropped, make, publish. The same inputs give the same bytes, in any folder and at any time, so a kernel whose
// inputs' digest is in the store is not built again. Two builds at a time: the second waits and finds the first's.
#include "src/backends/kernel/kernel_source.h"
#include "src/backends/kernel/kernel_store.h"

#include <functional>

namespace cleanroom::backends {

struct KernelBuildOptions {
  std::filesystem::path cache_directory;  // the work happens below it: 2.5 GiB while it lasts
  KernelSource source;
  std::string fragment;
  unsigned jobs = 1;                     // compilers at a time
  int niceness = 0;                      // of the compilers, added to this process's own
  std::string path;                      // where programs are looked for
  const base::Fd* interrupt = nullptr;   // readable: stop, and leave nothing behind; borrowed, may be null
  std::function<void(std::string)> say;  // one line, for a person who waits
};

struct KernelBuild {
  KernelManifest manifest;
  bool made = false;  // false: it was there
};

// kernel_build_failed says what is missing or shows the last output; cancelled. Blocks for minutes.
base::Result<KernelBuild> build_kernel(const KernelStore& store, const KernelBuildOptions& options);

}  // namespace cleanroom::backends
