#pragma once
// Confinement: what a child does to itself to be in the jail (base::ChildSetup). All is prepared before the fork.
#include "src/backends/jail/minimal_root.h"
#include "src/backends/jail/vmm_profile.h"
#include "src/base/os/process.h"

#include <sys/un.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cleanroom::backends::jail {

class Confinement final : public base::ChildSetup {
 public:
  struct Options {
    std::optional<MinimalRoot> root;   // nullopt: no namespaces here
    std::optional<VmmUser> user = {};  // of a runner that is root; it needs a root
    std::shared_ptr<const SeccompProgram> seccomp;
    VmmLimits limits;
    int cgroup_entrance = -1;
    // The VMM's directory: where it is in its root, or on the host when there is no root. Empty: none, and "/".
    std::string directory = {};
    std::vector<std::pair<int, sockaddr_un>> sockets = {};  // to listen in there
    int directory_way = -1;                                 // a socket over which the directory's descriptor goes out
  };
  explicit Confinement(Options options);
  unsigned long namespaces() const override;
  const char* enter(const char* program) const noexcept override;

 private:
  const char* enter_namespaces() const noexcept;
  const char* become_user() const noexcept;
  bool map_user(int proc) const noexcept;
  const char* enter_directory() const noexcept;
  bool limit_resources() const noexcept;
  Options options_;
  std::string uid_map_;
  std::string gid_map_;
};

}  // namespace cleanroom::backends::jail
