// Before a VM starts: may it, and with which image, disks and kernel?
#include "src/backends/elf_kernel.h"
#include "src/base/os/io.h"
#include "src/registry/operator_provider.h"
#include "src/registry/pull_lines.h"
#include "src/runner/backend_choice.h"
#include "src/runner/go_duration.h"
#include "src/runner/job_run.h"
#include "src/runner/workspace_disk.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace cleanroom::runner {

using base::Awaitable;
using base::Code;
using base::Result;
using namespace base::asio::experimental::awaitable_operators;

namespace {

constexpr std::chrono::seconds kAbandonLimit{2};

// An image's numeric user owns the workspace. A name means something only inside the image: the agent resolves it for
// the process, and the workspace stays root's.
std::pair<std::uint32_t, std::uint32_t> workspace_owner(const std::string& user) {
  const auto colon = user.find(':');
  const auto uid = parse_digits(user.substr(0, colon));
  const auto gid = colon == std::string::npos ? std::nullopt : parse_digits(user.substr(colon + 1));
  return {static_cast<std::uint32_t>(uid.value_or(0)), static_cast<std::uint32_t>(gid.value_or(0))};
}

}  // namespace

Result<void> JobRun::admit_phase() {
  const auto choose = [this](const policy::OperatorConfig& config) -> Result<std::string_view> {
    CR_ASSIGN(backend_, choose_backend(context_.get_executor(), request_.backend, config, paths_.cache / "probes"));
    return backend_->capabilities().name;
  };
  CR_ASSIGN(auto admission, admit(request_, choose));
  admission_.emplace(std::move(admission));
  for (const auto& warning : admission_->warnings)
    log_.warning(warning);
  const auto& loaded = admission_->policy;
  record_.policy_file = loaded.file.native();
  record_.policy_hash = loaded.policy.hash().to_string();
  record_.metadata = loaded.policy.metadata();
  record_.vcpus = admission_->vcpus;
  record_.memory_mib = admission_->memory_mib;
  announce_recording();
  CR_TRY(open_audit_sink());
  CR_TRY(accept_backend());
  record_.timer.finish("admit");
  return {};
}

Result<void> JobRun::accept_backend() {
  const auto& capabilities = backend_->capabilities();
  record_.backend = capabilities.name;
  record_.accelerator = backends::to_string(capabilities.accelerator);
  record_.hardware_isolation = capabilities.hardware_isolation;
  for (const auto wall : model::all_walls())
    record_.isolation[std::string(model::to_string(wall))] = capabilities.isolation.why_absent(wall);
  CR_ASSIGN(const auto lack, judge_isolation(admission_->operator_config, capabilities.isolation));
  if (!lack.empty()) log_.warning(lack);
  if (capabilities.hardware_isolation) return {};
  CR_ASSIGN(const auto warning, judge_emulation(request_, admission_->operator_config, capabilities.why_no_kvm));
  if (!warning.empty()) log_.warning(warning);
  return {};
}

Awaitable<Result<void>> JobRun::prepare_phase() {
  CR_CO_ASSIGN(kernel_, backends::find_guest_kernel(admission_->backend_config.kernel_image, paths_.data));
  record_.kernel_version = kernel_.version;
  if (backend_->capabilities().needs_elf_kernel) {
    CR_CO_ASSIGN(kernel_.image, backends::ensure_elf_kernel(kernel_.image, paths_.cache / "kernels"));
  }
  CR_CO_ASSIGN(initramfs_, backends::ensure_initramfs(kernel_, paths_.agent, paths_.cache / "initramfs"));
  record_.timer.finish("kernel");
  CR_CO_TRY(co_await prepare_image());
  co_return Result<void>{};
}

// Tells what runs on the pool to stop, and gives it a moment to take back what it has begun: the process ends with
// whatever its threads are at. Never completes without a signal.
Awaitable<void> JobRun::abandon_limit() {
  co_await cancellation_.wait_requested();
  stop_.request_stop();
  co_await base::sleep_until(std::min(cancellation_.hard_stop(), base::deadline_in(kAbandonLimit)));
}

// What the pool's threads say reaches the log on the loop's thread, as long as there is a run to speak of.
std::function<void(std::string)> JobRun::line_from_anywhere() {
  return [executor = context_.get_executor(), log = std::weak_ptr<JobLog*>(shared_log_)](std::string text) {
    base::asio::post(executor, [log, text = std::move(text)] {
      if (const auto alive = log.lock()) (*alive)->line(text);
    });
  };
}

Awaitable<Result<void>> JobRun::prepare_image() {
  const std::string source = admission_->image_source;
  const auto& identity = request_.identity;
  auto options = registry::provider_options(admission_->operator_config, admission_->bindings, identity);
  options.note = line_from_anywhere();
  const auto progress = std::make_shared<registry::PullLines>(source, line_from_anywhere());
  options.progress = progress.get();
  const auto provider =
      std::make_shared<registry::ImageProvider>(image::ImageStore(paths_.data / "images"), std::move(options));
  auto ensure = [provider, progress, source, demands = admission_->image_demands, stop = stop_.get_token()] {
    return provider->ensure(source, demands, stop);
  };
  auto ensured = base::run_blocking<image::StoredImage>(pool_, std::move(ensure));
  auto first = co_await (std::move(ensured) || abandon_limit());
  if (cancellation_.requested()) {
    co_return base::fail(Code::cancelled, "cancelled", "cancelled while the image was prepared");
  }
  CR_CO_ASSIGN(auto image, std::move(std::get<0>(first)));
  image_.emplace(std::move(image));
  record_.image_digest = image_->digest.to_string();
  record_.image_source = source;
  record_.timer.finish("image");
  if (request_.command.entrypoint_arguments)
    CR_CO_TRY(use_entrypoint(request_.command, image_->config.entrypoint, image_->config.cmd));
  co_return Result<void>{};
}

// Sparse files of their final size: all that the VMM looks at while it starts, so it need not wait for their content.
Result<void> JobRun::create_disk_files() {
  const auto create = [this](const char* name) -> Result<base::Fd> {
    const auto path = directory_->work() / name;
    CR_ASSIGN(auto file, base::open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (::ftruncate(file.get(), static_cast<off_t>(admission_->disk_mib << 20)) != 0)
      return base::fail(base::errno_error("size", path.native()));
    return file;
  };
  disks_ = std::make_shared<JobDisks>();
  CR_ASSIGN(disks_->rootfs, base::open_file(image_->rootfs, O_RDONLY));
  CR_ASSIGN(disks_->scratch, create("scratch.ext4"));
  CR_ASSIGN(disks_->workspace, create("workspace.ext4"));
  return {};
}

Awaitable<Result<void>> JobRun::fill_workspace() {
  const auto begun = base::SteadyClock::now();
  const auto owner = workspace_owner(image_->config.user);
  WorkspaceOptions options{.checkout = request_.checkout,
                           .size_mib = admission_->disk_mib,
                           .uid = owner.first,
                           .gid = owner.second,
                           .repo_mirror = request_.repo_mirror,
                           .executable = request_.command.script_path.value_or(""),
                           .stop = stop_.get_token()};
  auto work = [disks = disks_, options = std::move(options)] {
    return build_workspace_disk(disks->workspace, options);
  };
  auto made = base::run_blocking<WorkspaceReport>(pool_, std::move(work));
  auto first = co_await (std::move(made) || abandon_limit());
  if (cancellation_.requested()) {
    co_return base::fail(Code::cancelled, "cancelled", "cancelled while the checkout was copied");
  }
  CR_CO_ASSIGN(const auto report, std::move(std::get<0>(first)));
  for (const auto& warning : report.warnings)
    log_.warning(warning);
  record_.timer.record_since("workspace", begun);
  co_return Result<void>{};
}

}  // namespace cleanroom::runner
