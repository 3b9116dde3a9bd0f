#pragma once
// Which backend a run gets. One that is named is used or refused, never replaced. `auto`: Firecracker where KVM works
// and a good Firecracker is there, else QEMU.
#include "src/backends/backend.h"
#include "src/policy/operator_config.h"

#include <memory>
#include <string>

namespace cleanroom::runner {

// `requested` is the caller's: auto leaves it to the operator's default_backend. vmm_unavailable;
// backend_capability_mismatch: the named backend needs KVM. Blocks: probes, milliseconds when kept.
base::Result<std::unique_ptr<backends::Backend>> choose_backend(const base::asio::any_io_executor& executor,
                                                                const std::string& requested,
                                                                const policy::OperatorConfig& config,
                                                                const std::filesystem::path& probe_cache);

}  // namespace cleanroom::runner
