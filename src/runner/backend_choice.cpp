#include "src/runner/backend_choice.h"

#include "src/backends/firecracker/firecracker_backend.h"
#include "src/backends/qemu/qemu_backend.h"

namespace cleanroom::runner {

using base::Result;

namespace {

using Chosen = Result<std::unique_ptr<backends::Backend>>;

Chosen firecracker(const base::asio::any_io_executor& executor, const policy::OperatorConfig& config,
                   const std::filesystem::path& probe_cache) {
  return backends::firecracker::FirecrackerBackend::create(
      executor, {.binary = config.firecracker.binary_path, .cache_directory = probe_cache});
}

Chosen qemu(const base::asio::any_io_executor& executor, const policy::OperatorConfig& config,
            const std::filesystem::path& probe_cache) {
  return backends::qemu::QemuBackend::create(
      executor,
      {.binary = config.qemu.binary_path, .cache_directory = probe_cache, .emulated_aslr = config.qemu.emulated_aslr});
}

}  // namespace

Result<std::unique_ptr<backends::Backend>> choose_backend(const base::asio::any_io_executor& executor,
                                                          const std::string& requested,
                                                          const policy::OperatorConfig& config,
                                                          const std::filesystem::path& probe_cache) {
  const std::string& name = requested == "auto" ? config.default_backend : requested;
  if (name == "qemu") return qemu(executor, config, probe_cache);
  if (name == "firecracker") return firecracker(executor, config, probe_cache);
  if (auto chosen = firecracker(executor, config, probe_cache)) return chosen;
  return qemu(executor, config, probe_cache);
}

}  // namespace cleanroom::runner
