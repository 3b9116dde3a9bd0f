#pragma once
// VmmProfile: all that one VMM needs of this host. What is not in it does not exist for it.
#include "src/backends/jail/seccomp_program.h"
#include "src/base/os/fd.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::backends::jail {

struct JailFile {
  enum class Use { read, execute, write, device };
  std::filesystem::path path;  // absolute; the VMM sees it there, and what it leads to when it is a link
  Use use = Use::read;
  std::filesystem::path source = {};  // where it is on the host; empty: at `path`
};

// For a VMM whose sockets need names. It is the VMM's working directory, and the only one that it can write.
struct VmmDirectory {
  struct Socket {
    std::string name;
    const base::Fd* socket = nullptr;  // borrowed until spawn_jailed() returns; of AF_UNIX, listens there afterwards
  };
  std::filesystem::path on_host;  // private; used where there is no mount namespace: else it is in memory, and small
  std::vector<Socket> sockets;
};

struct VmmLimits {
  std::uint64_t open_files = 256;         // RLIMIT_NOFILE; at most 800
  std::uint64_t threads = 512;            // RLIMIT_NPROC and pids.max
  std::uint64_t file_bytes = 1ULL << 40;  // RLIMIT_FSIZE
  std::uint64_t locked_bytes = 0;         // RLIMIT_MEMLOCK
  std::uint64_t memory_bytes = 0;         // memory.max; 0: no limit
};

struct VmmProfile {
  std::vector<JailFile> files;   // the program, its libraries, and what they open by name
  bool own_descriptors = false;  // /proc/self/fd, for a VMM that opens by name only
  std::optional<VmmDirectory> directory = {};
  std::shared_ptr<const SeccompProgram> seccomp;  // null: the VMM brings filters of its own
  VmmLimits limits;
};

}  // namespace cleanroom::backends::jail
