#pragma once
// KernelStore: the folder <data>/kernels. One folder a kernel, `current` is a link to one of them. A kernel appears
// whole (made in a folder `.new.*` beside, then renamed) and is never changed in place, since a VM may be running it;
// only `current` moves. scripts/prepare-kernel keeps to the same rules.
#include "src/backends/kernel/kernel_lock.h"
#include "src/backends/kernel/kernel_manifest.h"

#include <optional>
#include <vector>

namespace cleanroom::backends {

enum class KernelOrigin { distribution, built };
std::string_view to_string(KernelOrigin origin);

struct StoredKernel {
  std::string name;
  std::string version;
  KernelOrigin origin = KernelOrigin::distribution;
  std::uint64_t bytes = 0;  // of all its files
  bool current = false;
  std::optional<KernelManifest> manifest;  // of one that was built
};

class KernelStore {
 public:
  explicit KernelStore(const std::filesystem::path& data_directory) : root_(data_directory / "kernels") {}
  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path directory(const std::string& name) const { return root_ / name; }

  // All kernels that can be used, by name; a folder without an image or with a bad manifest is none. Empty without the
  // folder.
  base::Result<std::vector<StoredKernel>> list() const;
  // The built kernel of those inputs; its images' digests are checked. nullopt when it is not there, or damaged.
  base::Result<std::optional<KernelManifest>> find_built(const std::string& inputs_digest) const;
  // Switches `current`, atomically. not_found lists what there is.
  base::Result<void> use(const std::string& name) const;
  // Moves a finished folder (on the same file system) to its name; what had that name is moved away whole and removed.
  base::Result<void> publish(const std::filesystem::path& finished, const std::string& name) const;

 private:
  base::Result<KernelLock> lock() const;
  std::filesystem::path root_;
};

// "sha256:<hex>" of a regular file. Blocks for as long as reading takes.
base::Result<std::string> digest_of_file(const std::filesystem::path& path);

}  // namespace cleanroom::backends
