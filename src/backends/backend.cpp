#include "src/backends/backend.h"

#include "src/base/os/io.h"

#include <sys/stat.h>

#include <algorithm>

namespace cleanroom::backends {

std::string_view to_string(Accelerator accelerator) {
  return accelerator == Accelerator::kvm ? "kvm" : "tcg";
}

std::string to_string(const VmmEnd& end) {
  return base::to_string(end.status) + (end.out_of_memory ? ", as it had used up the memory of its cgroup" : "");
}

base::Result<std::uint64_t> largest_disk(const LaunchSpec& spec) {
  std::uint64_t largest = 0;
  for (const auto& disk : spec.disks) {
    struct stat status {};
    if (::fstat(disk.file.get(), &status) != 0) return base::fail(base::errno_error("look at", "a disk"));
    largest = std::max(largest, static_cast<std::uint64_t>(status.st_size));
  }
  return largest;
}

}  // namespace cleanroom::backends
