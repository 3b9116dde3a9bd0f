#pragma once
// The Firecracker backend: hardware isolation, KVM only. Firecracker opens by path only. In the jail, what it reads has
// a fixed name there, so a snapshot, which keeps the paths of its drives, finds the files of the job that restores it.
// What it writes is a descriptor that it opens as /proc/self/fd/N: no disk needs a name. Without a mount namespace all
// files are such descriptors. Only its sockets have names, in its working directory.
#include "src/backends/backend.h"
#include "src/backends/firecracker/vm_config.h"
#include "src/backends/jail/jail.h"

#include <filesystem>
#include <optional>
#include <vector>

namespace cleanroom::backends::firecracker {

struct FirecrackerOptions {
  std::optional<std::filesystem::path> binary;  // default: firecracker in PATH
  std::filesystem::path cache_directory;        // keeps the answer of --version, and the list of libraries
};

class FirecrackerBackend final : public Backend {
 public:
  // Finds the program, asks for its version, tries KVM; blocks for milliseconds. vmm_unavailable: no program, or too
  // old. backend_capability_mismatch: no KVM here.
  static base::Result<std::unique_ptr<FirecrackerBackend>> create(base::asio::any_io_executor executor,
                                                                  const FirecrackerOptions& options);

  const Capabilities& capabilities() const override { return capabilities_; }
  // spec.kernel is an ELF image.
  base::Result<std::unique_ptr<Vm>> launch(LaunchSpec spec) override;
  base::Result<std::unique_ptr<Vm>> restore(LaunchSpec spec, const SnapshotFiles& files) override;
  base::Result<std::string> snapshot_identity(const LaunchSpec& spec) const override;

 private:
  struct Inputs;
  struct Logs;
  FirecrackerBackend(base::asio::any_io_executor executor, std::filesystem::path binary, std::filesystem::path cache,
                     Capabilities capabilities, jail::JailHost jail_host);
  bool has_names() const { return jail_host_.isolation.has(model::Wall::mount_namespace); }
  VmConfig config_of(const LaunchSpec& spec) const;
  base::Result<std::unique_ptr<Vm>> start(const LaunchSpec& spec, Inputs inputs, std::vector<ApiCall> calls);
  base::Result<jail::VmmProfile> profile_of(const LaunchSpec& spec) const;
  base::Result<void> hand_over(const LaunchSpec& spec, Inputs& inputs, base::SpawnOptions& options,
                               jail::VmmProfile& profile) const;
  base::asio::any_io_executor executor_;
  std::filesystem::path binary_;
  std::filesystem::path cache_;
  Capabilities capabilities_;
  jail::JailHost jail_host_;
};

}  // namespace cleanroom::backends::firecracker
