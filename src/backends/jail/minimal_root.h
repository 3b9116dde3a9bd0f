#pragma once
// A root file system of an allow-list: a read-only tmpfs, on which each file is bound, read-only but where it says
// otherwise. Nothing else of the host's is left in the mount namespace, but for the process's own descriptors and a
// small directory in memory where the profile asks for them.
#include "src/backends/jail/vmm_profile.h"
#include "src/base/os/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::backends::jail {

class MinimalRoot {
 public:
  // Where VmmProfile::directory is.
  static constexpr const char* kDirectory = "/vmm";
  // Resolves links and names what is to be made. `user`: whose the directory is, when it is not its maker's. not_found:
  // a file that is not there.
  static base::Result<MinimalRoot> plan(const VmmProfile& profile, const std::optional<VmmUser>& user);
  // In a new process with a mount namespace of its own, and CAP_SYS_ADMIN there: makes it the root and the working
  // directory. Async-signal-safe. Null, or what could not be done; errno says why. Linux 5.12 or later.
  const char* enter() const noexcept;

 private:
  struct Bind {
    std::string source;            // below the old root
    std::string target;            // in the new one
    std::uint64_t attributes = 0;  // MOUNT_ATTR_*
  };
  const char* bind_files() const noexcept;
  std::vector<std::string> directories_;  // parents first
  std::vector<Bind> binds_;
  bool own_descriptors_ = false;
  std::string directory_options_;  // empty: none
};

}  // namespace cleanroom::backends::jail
