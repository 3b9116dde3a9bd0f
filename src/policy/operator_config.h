#pragma once
// config.yaml: how the operator of this host wants VMs run. Trusted, and therefore refused when others may write it.
#include "src/base/os/result.h"
#include "src/base/text/diagnostic.h"
#include "src/model/wall.h"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::policy {

// Where operator files are looked for. $CLEANROOM_CONFIG_DIR alone counts when set, and must then hold one of the
// files; else /etc/cleanroom, then $XDG_CONFIG_HOME/cleanroom (default ~/.config/cleanroom).
//
// A pipeline's `env:` reaches this process under Buildkite. So with BUILDKITE=true the home directory is that of the
// user database, not of the environment, and the directories of the build are untrusted.
struct OperatorPaths {
  std::vector<std::filesystem::path> directories;  // the first that has the file counts
  bool from_variable = false;                      // $CLEANROOM_CONFIG_DIR chose the directory
  // Places a job's author may write (checkout, plugins, builds): an operator directory below one of them is refused, so
  // that a pipeline's `env:` cannot point CLEANROOM_CONFIG_DIR or XDG_CONFIG_HOME at files of its own repository.
  std::vector<std::filesystem::path> untrusted_roots;
  uid_t user = 0;

  // From this process's environment and euid; untrusted_roots from BUILDKITE_{BUILD_CHECKOUT,BUILD,PLUGINS}_PATH
  // and the working directory when BUILDKITE=true.
  static OperatorPaths from_environment();
};

// The home directory of the user who runs us: $HOME, but with BUILDKITE=true that of the user database, since a
// pipeline's `env:` may set HOME. Empty when there is none.
std::filesystem::path operator_home();

// Of one backend.
struct BackendConfig {
  std::optional<std::filesystem::path> binary_path;   // absolute
  std::optional<std::filesystem::path> kernel_image;  // absolute
  std::optional<std::uint32_t> vcpus;                 // default when the policy says nothing
  std::optional<std::uint64_t> memory_mib;
  std::optional<std::chrono::seconds> launch_timeout;
};

struct QemuConfig : BackendConfig {
  bool emulated_aslr = false;  // whether an emulated guest gives each program addresses of its own
};

// A second place for audit lines.
struct AuditConfig {
  enum class Kind { file, socket };
  Kind kind = Kind::file;
  std::filesystem::path path;  // absolute
  bool required = false;       // no job starts without it
};

struct GitMirrorConfig {
  bool enable = false;
  std::uint64_t max_gib = 20;
  std::optional<std::filesystem::path> directory;  // absolute; nullopt: the default
};

// How one registry is reached. A mirror has an entry of its own where it needs one.
struct RegistryConfig {
  std::string host;                              // host[:port] as image references name it: docker.io, [::1]:5000
  std::vector<std::string> mirrors;              // host[:port], asked before the registry itself, in this order
  bool insecure = false;                         // plain HTTP
  std::optional<std::filesystem::path> ca_file;  // PEM, absolute: authorities besides this host's
  std::optional<std::string> token_realm;        // host[:port]: a token service that may get this registry's login
};

struct ImagesConfig {
  unsigned parallel_downloads = 4;           // of one pull
  std::optional<std::uint64_t> max_gib;      // nullopt: the store has no size limit
  std::optional<std::uint32_t> unused_days;  // nullopt: images do not grow old
  std::optional<bool> docker_config;         // whether Docker's files may have logins; nullopt: outside Buildkite only
};

// Saved VMs that later runs are restored from.
struct TemplatesConfig {
  bool enable = true;
  std::uint64_t max_gib = 8;  // on the disk; the least recently used go first
  std::uint32_t unused_days = 14;
};

struct OperatorConfig {
  std::optional<std::filesystem::path> file;  // nullopt: no file, all defaults
  std::string default_backend = "auto";       // auto | firecracker | qemu
  bool allow_emulation = false;
  bool allow_record = false;                   // under Buildkite
  std::vector<model::Wall> require_isolation;  // no VMM starts without these
  std::optional<AuditConfig> audit;
  QemuConfig qemu;
  // PEM: authorities that the gateway's upstreams may be certified by, besides this host's. Absolute.
  std::optional<std::filesystem::path> gateway_ca_file;
  GitMirrorConfig git_mirror;
  std::vector<RegistryConfig> registries;  // in the order of the file; no host twice
  ImagesConfig images;
  TemplatesConfig templates;
  BackendConfig firecracker;

  const RegistryConfig* registry(std::string_view host) const;  // null: it has no entry
};

// config_insecure: owner neither root nor the running user, or group/world-writable (the file or its directory), or
// below an untrusted root. config_invalid: its text; the message has one line for each error.
base::Result<OperatorConfig> load_operator_config(const OperatorPaths& paths, base::Diagnostics* diagnostics = nullptr);

struct OperatorFile {
  std::filesystem::path path;
  std::string text;
};
// One operator file by name, checked as above. nullopt: it is in none of the directories.
base::Result<std::optional<OperatorFile>> read_operator_file(const OperatorPaths& paths, const std::string& name);

}  // namespace cleanroom::policy
