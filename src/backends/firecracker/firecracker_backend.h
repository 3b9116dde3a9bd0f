#pragma once
// The Firecracker backend: hardware isolation, KVM only. Every file reaches Firecracker as a descriptor that it opens
// as /proc/self/fd/N: no disk needs a name, and a snapshot, which keeps the paths of its drives, finds the files of the
// job that restores it under the same numbers. Only its sockets have names, in a private directory that is its working
// directory.
#include "src/backends/backend.h"
#include "src/backends/firecracker/vm_config.h"

#include <filesystem>
#include <optional>
#include <vector>

namespace cleanroom::backends::firecracker {

struct FirecrackerOptions {
  std::optional<std::filesystem::path> binary;  // default: firecracker in PATH
  std::filesystem::path cache_directory;        // keeps the answer of --version
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
  FirecrackerBackend(base::asio::any_io_executor executor, std::filesystem::path binary, Capabilities capabilities);
  base::Result<std::unique_ptr<Vm>> start(const LaunchSpec& spec, const Inputs& inputs, std::vector<ApiCall> calls);
  base::asio::any_io_executor executor_;
  std::filesystem::path binary_;
  Capabilities capabilities_;
};

}  // namespace cleanroom::backends::firecracker
