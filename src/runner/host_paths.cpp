#include "src/runner/host_paths.h"

#include <unistd.h>

#include <cstdlib>

namespace cleanroom::runner {

using base::Code;
using base::Result;

namespace {

constexpr const char* kAgentName = "cleanroom-agent";

Result<std::filesystem::path> xdg_directory(const char* variable, const char* below_home) {
  if (const char* value = std::getenv(variable); value != nullptr && value[0] == '/') {
    return std::filesystem::path(value) / "cleanroom";
  }
  const char* home = std::getenv("HOME");
  if (home == nullptr || home[0] != '/') {
    return base::fail(Code::failed_precondition,
                      fmt::format("cannot tell where to keep files: neither {} nor HOME is set", variable));
  }
  return std::filesystem::path(home) / below_home / "cleanroom";
}

}  // namespace

Result<HostPaths> HostPaths::find() {
  HostPaths paths;
  CR_ASSIGN(paths.data, xdg_directory("XDG_DATA_HOME", ".local/share"));
  CR_ASSIGN(paths.cache, xdg_directory("XDG_CACHE_HOME", ".cache"));
  CR_ASSIGN(paths.state, xdg_directory("XDG_STATE_HOME", ".local/state"));
  std::error_code ec;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", ec);
  if (ec) return base::fail(base::errno_error("read", "/proc/self/exe", ec.value()));
  paths.agent = self.parent_path() / kAgentName;
  if (::access(paths.agent.c_str(), R_OK) != 0) {
    return base::fail(base::errno_error("read the guest agent", paths.agent.native()));
  }
  return paths;
}

}  // namespace cleanroom::runner
