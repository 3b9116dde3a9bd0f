// A VM that waits for START. In this order, each when the one before is not to be had:
//
//   a template of this key is there     restore it; its memory is read against its digest meanwhile
//   there is none, and nobody makes it  boot a VM with disks of its own, save it, restore that; published while the job
//                                       runs
//   else                                boot
//
// A guest uses its scratch disk from the beginning: one from a template goes on with what the saved one held. The
// workspace is filled beside all that: a guest looks at it after START. Nothing of the job is in a template: it is
// saved before any job has a part in it. A template that fails costs a line in the log and a cold boot, never the job.
#include "src/base/os/io.h"
#include "src/base/os/sparse_file.h"
#include "src/runner/job_run.h"
#include "src/runner/vmm_end.h"
#include "src/runner/workspace_disk.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cleanroom::runner {

using base::Awaitable;
using base::Code;
using base::Result;
using namespace base::asio::experimental::awaitable_operators;

namespace {

constexpr std::chrono::seconds kPublishLimit{20};
constexpr std::size_t kPanicTail = 8192;
constexpr std::string_view kKernelPanic = "Kernel panic";

Result<base::Fd> duplicate(const base::Fd& file) {
  base::Fd copy(::fcntl(file.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return base::fail(base::errno_error("duplicate", "a disk"));
  return copy;
}

// An empty scratch disk, whatever was in it. Some milliseconds.
Result<void> make_scratch(const base::Fd& file, std::uint64_t size_mib) {
  if (::ftruncate(file.get(), 0) != 0) return base::fail(base::errno_error("empty", "a scratch disk"));
  return create_scratch_disk(file, size_mib);
}

// As long as another disk, and empty: in memory, and holding none.
Result<base::Fd> blank_disk(const base::Fd& like) {
  struct stat status {};
  base::Fd blank(::memfd_create("cleanroom-blank-disk", MFD_CLOEXEC));
  if (!blank || ::fstat(like.get(), &status) != 0 || ::ftruncate(blank.get(), status.st_size) != 0)
    return base::fail(base::errno_error("make", "a blank disk"));
  return blank;
}

// READY of a VM that was launched; `control` is what it came on.
Awaitable<Result<void>> meet_agent(backends::Vm& vm, std::optional<channel::StreamSocket>& control,
                                   base::Deadline deadline) {
  CR_CO_TRY(co_await vm.connect(deadline));
  control.emplace(vm.take_control());
  auto ready = co_await await_ready(*control, deadline);
  if (!ready) co_await add_vmm_end(vm, ready.error());
  co_return ready;
}

// What the kernel said when it panicked, one line; empty: it did not.
std::string panic_line(const backends::Vm& vm) {
  const auto console = vm.console_tail(kPanicTail);
  const auto begin = console.find(kKernelPanic);
  if (begin == std::string::npos) return {};
  return console.substr(begin, console.find_first_of("\r\n", begin) - begin);
}

}  // namespace

Result<backends::LaunchSpec> JobRun::launch_spec() const {
  backends::LaunchSpec spec{.kernel = kernel_.image,
                            .discovery = kernel_.discovery,
                            .tick_hz = kernel_.tick_hz,
                            .initramfs = initramfs_,
                            .vcpus = admission_->vcpus,
                            .memory_mib = admission_->memory_mib,
                            .disks = {},
                            .console_log = directory_->path() / "console.log",
                            .directory = directory_->work(),
                            .memory_to_save = std::nullopt};
  for (const auto* disk : {&disks_->rootfs, &disks_->scratch, &disks_->workspace}) {
    CR_ASSIGN(auto file, duplicate(*disk));
    spec.disks.push_back({std::move(file), disk == &disks_->rootfs});
  }
  return spec;
}

Awaitable<Result<void>> JobRun::start_machine() {
  CR_CO_TRY(create_disk_files());
  auto workspace = fill_workspace();
  auto machine = bring_up();
  auto [filled, up] = co_await (std::move(workspace) && std::move(machine));
  CR_CO_TRY(std::move(filled));
  CR_CO_TRY(std::move(up));
  auto started = co_await await_agent();
  const bool restored = !record_.template_key.empty();
  if (started || !restored || started.error().code == Code::cancelled) co_return started;
  note_no_template("the VM restored from it does not answer", started.error());
  templates_->remove(record_.template_key);
  CR_CO_TRY(co_await boot_cold());
  co_return co_await await_agent();
}

Awaitable<Result<void>> JobRun::bring_up() {
  const auto& config = admission_->operator_config.templates;
  if (!config.enable) co_return co_await boot_cold();
  templates_.emplace(paths_.data / "templates");
  CR_CO_ASSIGN(const auto spec, launch_spec());
  CR_CO_ASSIGN(const auto identity, backend_->snapshot_identity(spec));
  const auto key = backends::template_key(identity, image_->digest.to_string());
  auto found = templates_->find(key);
  if (found) {
    auto restored = co_await restore_found(std::move(*found));
    if (restored || restored.error().code == Code::cancelled) co_return restored;
    note_no_template("cannot use a template", restored.error());
    templates_->remove(key);
    co_return co_await boot_cold();
  }
  if (found.error().code != Code::not_found) note_no_template("cannot use a template", found.error());
  CR_CO_ASSIGN(const bool up, co_await start_from_new_template(key));
  if (up) co_return Result<void>{};
  co_return co_await boot_cold();
}

// A guest kernel that panics before any job has a part in it says nothing about the job: its VM is started once more.
// meet_first_agent() notes such a panic; boot_cold() and start_from_new_template() go by it.
Awaitable<Result<void>> JobRun::meet_first_agent(backends::Vm& vm, std::optional<channel::StreamSocket>& control,
                                                 base::Deadline deadline) {
  machine_->panic.clear();
  auto met = co_await meet_agent(vm, control, deadline);
  if (!met) machine_->panic = panic_line(vm);
  co_return met;
}

// False: there is no template, and no VM.
Awaitable<Result<bool>> JobRun::start_from_new_template(std::string key) {
  for (bool again = true;; again = false) {
    auto build = templates_->begin(key);
    if (!build) note_no_template("cannot make a template", build.error());
    if (!build || !*build) co_return false;
    auto made = co_await make_template(std::move(**build));
    if (made) co_return true;
    if (made.error().code == Code::cancelled) co_return base::fail(std::move(made).error());
    again = again && !machine_->panic.empty();
    note_no_template("cannot make a template", made.error(), again ? "trying once more" : "starting without");
    if (!again) co_return false;
  }
}

Awaitable<Result<void>> JobRun::uncancelled(Awaitable<Result<void>> step) {
  auto first = co_await (std::move(step) || cancellation_.wait_requested());
  if (first.index() == 1) co_return base::fail(Code::cancelled, "cancelled", "cancelled while the VM started");
  co_return std::move(std::get<0>(first));
}

Awaitable<Result<void>> JobRun::boot_cold() {
  auto booted = co_await boot_once();
  if (booted || booted.error().code == Code::cancelled || machine_->panic.empty()) co_return booted;
  log_.line("the guest's kernel failed before the job began, starting it once more: " + machine_->panic);
  co_return co_await boot_once();
}

Awaitable<Result<void>> JobRun::boot_once() {
  const auto begun = base::SteadyClock::now();
  record_.template_key.clear();
  machine_->control.reset();
  machine_->vm.reset();
  machine_->panic.clear();
  CR_CO_TRY(make_scratch(disks_->scratch, admission_->disk_mib));
  CR_CO_ASSIGN(auto spec, launch_spec());
  CR_CO_ASSIGN(machine_->vm, backend_->launch(std::move(spec)));
  auto ready = meet_first_agent(*machine_->vm, machine_->control, base::deadline_in(admission_->launch_timeout));
  auto booted = co_await uncancelled(std::move(ready));
  if (!booted) co_return base::fail(with_console(std::move(booted).error()));
  record_.timer.record_since("boot", begun);
  record_.timer.skip();
  co_return Result<void>{};
}

Result<void> JobRun::load_machine(const backends::SnapshotFiles& files) {
  CR_ASSIGN(auto spec, launch_spec());
  CR_ASSIGN(machine_->vm, backend_->restore(std::move(spec), files));
  return {};
}

Awaitable<Result<void>> JobRun::resume_machine(std::string template_key, base::Deadline begun) {
  auto resumed = machine_->vm->resume(base::deadline_in(admission_->launch_timeout));
  CR_CO_TRY(co_await uncancelled(std::move(resumed)));
  machine_->control.emplace(machine_->vm->take_control());
  record_.template_key = std::move(template_key);
  record_.timer.record_since("restore", begun);
  record_.timer.skip();
  co_return Result<void>{};
}

// Whatever the memory holds, no guest instruction is taken from it before it was compared.
Awaitable<Result<void>> JobRun::restore_found(backends::Template found) {
  const auto begun = base::SteadyClock::now();
  CR_CO_TRY(load_machine(found.files));
  auto verify = base::run_blocking<void>(pool_, [found, disks = disks_]() -> Result<void> {
    CR_TRY(backends::TemplateStore::copy_scratch(found, disks->scratch));
    return backends::TemplateStore::verify_memory(found);
  });
  CR_CO_TRY(co_await uncancelled(std::move(verify)));
  co_return co_await resume_machine(found.key, begun);
}

Awaitable<Result<void>> JobRun::save_machine(const backends::TemplateBuild& build) {
  CR_CO_ASSIGN(auto spec, launch_spec());
  auto& scratch = spec.disks[channel::kScratchSlot].file;
  for (auto& disk : spec.disks) {
    if (disk.read_only || &disk.file == &scratch) continue;
    CR_CO_ASSIGN(disk.file, blank_disk(disk.file));
  }
  CR_CO_ASSIGN(scratch, base::open_file(build.scratch(), O_RDWR | O_CREAT | O_EXCL, 0600));
  CR_CO_TRY(make_scratch(scratch, admission_->disk_mib));
  spec.console_log = directory_->work() / "template-console.log";
  spec.memory_to_save = build.files().memory;
  const auto deadline = base::deadline_in(admission_->launch_timeout);
  CR_CO_ASSIGN(const auto vm, backend_->launch(std::move(spec)));
  std::optional<channel::StreamSocket> control;
  auto ready = co_await meet_first_agent(*vm, control, deadline);
  if (!ready) {
    co_return base::fail(std::move(ready).error().with_context("its console ends with: " + vm->console_tail(256)));
  }
  co_return co_await vm->save(build.files().state, deadline);
}

Awaitable<Result<void>> JobRun::make_template(backends::TemplateBuild build) {
  const auto begun = base::SteadyClock::now();
  auto saved = save_machine(build);
  CR_CO_TRY(co_await uncancelled(std::move(saved)));
  record_.timer.record_since("template", begun);
  const auto restoring = base::SteadyClock::now();
  CR_CO_ASSIGN(const auto scratch, base::open_file(build.scratch(), O_RDONLY));
  CR_CO_TRY(base::copy_sparse(scratch, disks_->scratch));
  CR_CO_TRY(load_machine(build.files()));
  CR_CO_TRY(co_await resume_machine(build.key(), restoring));
  record_.template_made = true;
  publish_template(std::move(build));
  co_return Result<void>{};
}

void JobRun::publish_template(backends::TemplateBuild build) {
  publication_ = std::make_shared<Publication>(context_.get_executor());
  const auto& config = admission_->operator_config.templates;
  const backends::TemplateLimits limits{.max_bytes = config.max_gib << 30,
                                        .unused_for = std::chrono::hours(24) * config.unused_days};
  auto publish = [build = std::make_shared<backends::TemplateBuild>(std::move(build)), store = *templates_,
                  limits]() -> Result<void> {
    CR_TRY(build->publish());
    store.collect(limits);
    return {};
  };
  base::asio::co_spawn(context_, base::run_blocking<void>(pool_, std::move(publish)),
                       [this, publication = publication_](std::exception_ptr, const Result<void>& published) {
                         publication->over = true;
                         publication->changed.notify_all();
                         // This run waits for it in end_publication(), or has ended.
                         if (!published && publication_ == publication)
                           log_.line("cannot keep a template: " + published.error().describe());
                       });
}

Awaitable<void> JobRun::end_publication() {
  const auto publication = publication_;
  const auto deadline = base::deadline_in(kPublishLimit);
  while (publication && !publication->over && base::SteadyClock::now() < deadline)
    co_await publication->changed.wait_until(deadline);
  publication_.reset();
}

void JobRun::note_no_template(std::string_view what, const base::Error& error, std::string_view next) {
  log_.line(fmt::format("{}: {}; {}", what, error.describe(), next));
}

}  // namespace cleanroom::runner
