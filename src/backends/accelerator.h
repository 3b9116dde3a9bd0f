#pragma once
// Does KVM work here? /dev/kvm may be there and useless: no permission, no hardware behind it (kvm_pvm, which runs only
// kernels made for it), or a nested host whose KVM cannot run a guest.
// So the answer is tried, by letting QEMU make a paused KVM machine; the result is kept for this boot of the host and
// this QEMU.
#include "src/base/os/result.h"

#include <filesystem>
#include <string>

namespace cleanroom::backends {

struct KvmProbe {
  bool works = false;
  std::string reason;  // why not, one line
};

// Blocks: a few microseconds without /dev/kvm or with a kept result, else up to kProbeLimit. `cache_directory` may be
// empty.
KvmProbe probe_kvm(const std::filesystem::path& qemu, const std::filesystem::path& cache_directory);
// The same without QEMU: a VM of one page and one processor, which executes one instruction. Blocks for a millisecond.
KvmProbe probe_kvm_directly();

}  // namespace cleanroom::backends
