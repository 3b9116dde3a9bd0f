#pragma once
// VmmProfile: all that one VMM needs of this host. What is not in it does not exist for it.
#include "src/backends/jail/seccomp_program.h"
#include "src/base/os/fd.h"

#include <sys/types.h>

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

// To the host, of a VMM whose runner is root. Nobody else has this user; the group is the same for all VMMs, which may
// read a template by it.
// They are above what systemd gives to containers, and below the sign bit (https://systemd.io/UIDS-GIDS).
inline constexpr gid_t kVmmGroup = 0x7f000000;
struct VmmUser {
  uid_t uid = 0;
  gid_t gid = kVmmGroup;
  gid_t device_group = 0;  // another that it is in: the one that may use /dev/kvm; 0: none
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
