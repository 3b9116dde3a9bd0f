#pragma once
// VmmProfile: all that one VMM needs of this host. What is not in it does not exist for it.
#include "src/backends/jail/seccomp_program.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace cleanroom::backends::jail {

struct JailFile {
  enum class Use { read, execute, write, device };
  std::filesystem::path path;  // absolute; the VMM sees it there, and what it leads to when it is a link
  Use use = Use::read;
};

struct VmmLimits {
  std::uint64_t open_files = 256;         // RLIMIT_NOFILE; at most 800
  std::uint64_t threads = 512;            // RLIMIT_NPROC and pids.max
  std::uint64_t file_bytes = 1ULL << 40;  // RLIMIT_FSIZE
  std::uint64_t locked_bytes = 0;         // RLIMIT_MEMLOCK
  std::uint64_t memory_bytes = 0;         // memory.max; 0: no limit
};

struct VmmProfile {
  std::vector<JailFile> files;                    // the program, its libraries, and what they open by name
  std::shared_ptr<const SeccompProgram> seccomp;  // null: the VMM brings filters of its own
  VmmLimits limits;
};

}  // namespace cleanroom::backends::jail
