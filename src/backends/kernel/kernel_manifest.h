#pragma once
// manifest.json beside a kernel that was built here: what it was made of, and what it can do. A distribution's kernel
// has none.
#include "src/base/os/result.h"

#include <filesystem>
#include <string>
#include <string_view>

namespace cleanroom::backends {

// Digests are "sha256:" and 64 hex digits.
struct KernelManifest {
  std::string name;             // of its folder below kernels/
  std::string version;          // what `uname -r` says in the guest
  std::string inputs_digest;    // over everything the bytes depend on (kernel_inputs.h)
  std::string source_digest;    // of the source tarball, or of the files of a source tree
  std::string fragment_digest;  // of the configuration fragment
  std::string compiler;         // first line of --version
  std::string linker;
  std::string vmlinuz_digest;  // the bzImage
  std::string vmlinux_digest;  // the ELF file, for direct boot (PVH, Firecracker)
  bool mmio_cmdline = false;   // finds virtio-mmio devices on its command line
  bool pvh = false;            // vmlinux has a PVH entry
  bool modules = false;        // can load modules
  unsigned tick_hz = 0;        // its timer ticks a second (CONFIG_HZ); 0: not known
};

constexpr const char* kManifestName = "manifest.json";

std::string to_json_text(const KernelManifest& manifest);
// kernel_unavailable: not a manifest of this schema. `name` is what the text is called in the error.
base::Result<KernelManifest> parse_kernel_manifest(std::string_view text, std::string_view name);
// The manifest in that folder; not_found when there is none.
base::Result<KernelManifest> read_kernel_manifest(const std::filesystem::path& directory);

}  // namespace cleanroom::backends
