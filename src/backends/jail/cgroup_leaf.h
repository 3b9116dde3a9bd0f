#pragma once
// A cgroup (v2) of its own for one VMM: limits of memory, swap and processes, and a small weight of processor and disk
// where those controllers are. It is made where this user may: beside the runner's own cgroup, or below it, wherever
// the memory and pids controllers are delegated.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <cstdint>
#include <filesystem>
#include <utility>

namespace cleanroom::backends::jail {

struct CgroupLimits {
  std::uint64_t memory_bytes = 0;  // memory.max, 0: none; swap is 0 always
  std::uint64_t processes = 0;     // pids.max
};

// The directory in which leaves can be made. failed_precondition: why there is none. Also removes leaves there whose
// runners have ended. Some system calls.
base::Result<std::filesystem::path> find_cgroup_parent();

class CgroupLeaf {
 public:
  CgroupLeaf() = default;  // none
  static base::Result<CgroupLeaf> create(const std::filesystem::path& parent, const CgroupLimits& limits);
  CgroupLeaf(CgroupLeaf&& other) noexcept
      : directory_(std::exchange(other.directory_, {})), entrance_(std::move(other.entrance_)) {}
  CgroupLeaf& operator=(CgroupLeaf&& other) noexcept;
  // Removes it. Its processes must have been reaped; waits up to 200 ms for the kernel's own, and leaves what is held
  // longer to the sweep of a later run.
  ~CgroupLeaf() { remove(); }
  // A process that writes "0" to it moves in. -1: none. Its number is above those of a child's descriptors.
  int entrance() const { return entrance_.get(); }
  // Whether the kernel ended something in it because memory.max was reached.
  bool ran_out_of_memory() const;

 private:
  CgroupLeaf(std::filesystem::path directory, base::Fd entrance)
      : directory_(std::move(directory)), entrance_(std::move(entrance)) {}
  void remove() noexcept;
  void remove_when_empty() const noexcept;
  std::filesystem::path directory_;  // empty: none, or moved away
  base::Fd entrance_;
};

}  // namespace cleanroom::backends::jail
