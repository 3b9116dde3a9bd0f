// Saving and restoring are QEMU's migration to and from a file, without the memory: that is a file already
// (`x-ignore-shared`), written in place by the saved machine and mapped copy-on-write by restored ones.
#include "src/backends/qemu/qemu_vm.h"

#include "src/base/os/io.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <fcntl.h>

namespace cleanroom::backends::qemu {

namespace asio = base::asio;
using base::Awaitable;
using base::Result;

namespace {

constexpr const char* kNegotiate =
    R"({"execute":"qmp_capabilities"}
{"execute":"migrate-set-capabilities","arguments":{"capabilities":[)"
    R"({"capability":"x-ignore-shared","state":true},{"capability":"events","state":true}]}}
)";
constexpr const char* kSave = R"({"execute":"migrate","arguments":{"uri":"fd:state"}}
)";
constexpr const char* kGo = R"({"execute":"cont"}
)";
constexpr std::size_t kSaveAnswers = 4;  // of kNegotiate, of the descriptor, of kSave

constexpr std::size_t kLoadAnswers = 3;

}  // namespace

std::string load_commands(int state_number) {
  return kNegotiate + fmt::format(R"({{"execute":"migrate-incoming","arguments":{{"uri":"fd:{}"}}}})", state_number) +
         "\n";
}

QemuVm::QemuVm(const asio::any_io_executor& executor, jail::JailedProcess jailed, QemuLinks links,
               std::shared_ptr<CappedLog> log)
    : executor_(executor),
      cgroup_(std::move(jailed.cgroup)),
      links_(std::move(links)),
      process_(std::move(jailed.process)),
      log_(std::move(log)) {
  if (links_.monitor) monitor_.emplace(as_socket(std::move(links_.monitor)));
}

channel::StreamSocket QemuVm::as_socket(base::Fd fd) {
  channel::StreamSocket socket(executor_);
  socket.assign(asio::local::stream_protocol(), fd.release());
  return socket;
}

Awaitable<VmmEnd> QemuVm::wait_end() {
  // A pidfd becomes readable when its process ends.
  asio::posix::stream_descriptor pidfd(executor_, ::dup(process_.pidfd().get()));
  for (;;) {
    if (const auto status = process_.try_wait()) {
      out_of_memory_ = out_of_memory_ || cgroup_.ran_out_of_memory();
      cgroup_ = {};  // not left to the destructor: a run may end without one
      co_return VmmEnd{*status, out_of_memory_};
    }
    co_await pidfd.async_wait(asio::posix::stream_descriptor::wait_read, base::kTuple);
  }
}

Awaitable<Result<void>> QemuVm::save_to(std::filesystem::path state) {
  CR_CO_ASSIGN(const auto file, base::open_file(state, O_WRONLY | O_CREAT | O_EXCL, 0600));
  CR_CO_TRY(co_await monitor_->send(kNegotiate));
  CR_CO_TRY(monitor_->send_descriptor(file, "state"));
  CR_CO_TRY(co_await monitor_->send(kSave));
  CR_CO_TRY(co_await monitor_->answers(kSaveAnswers));
  co_return co_await monitor_->event("MIGRATION", "completed", "failed");
}

// The machine was saved running, so it runs as soon as it is loaded, unless QEMU was started with -S; `cont` lifts
// that, now or, while it still loads, afterwards.
Awaitable<Result<void>> QemuVm::go_when_loaded() {
  CR_CO_TRY(co_await monitor_->send(kGo));
  CR_CO_TRY(co_await monitor_->answers(kLoadAnswers + 1));
  co_return co_await monitor_->event("RESUME", "", "");
}

Awaitable<Result<void>> QemuVm::save(std::filesystem::path state, base::Deadline deadline) {
  if (!monitor_) co_return base::fail(base::Code::internal, "cannot save a VM that was not launched to be saved");
  co_return co_await base::with_deadline<void>(deadline, "save the VM", save_to(std::move(state)));
}

Awaitable<Result<void>> QemuVm::resume(base::Deadline deadline) {
  if (!monitor_) co_return base::fail(base::Code::internal, "cannot resume a VM that was not restored");
  auto resumed = co_await base::with_deadline<void>(deadline, "restore the VM", go_when_loaded());
  monitor_.reset();  // a job's VM has none
  co_return resumed;
}

}  // namespace cleanroom::backends::qemu
