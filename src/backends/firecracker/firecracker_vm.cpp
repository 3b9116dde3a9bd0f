#include "src/backends/firecracker/firecracker_vm.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/channel/handshake.h"

#include <boost/asio/read.hpp>

namespace cleanroom::backends::firecracker {

namespace asio = base::asio;
using base::Awaitable;
using base::Code;
using base::Result;

namespace {

constexpr std::size_t kMaxState = 64 << 20;  // tens of KiB usually

// What keeps a snapshot from being made or used is no verdict on the VMM: another start may do.
Result<void> as_unavailable(Result<void> result) {
  if (result || result.error().code == Code::timeout) return result;
  base::Error error = std::move(result).error();
  error.code = Code::unavailable;
  return base::fail(std::move(error));
}

Awaitable<Result<void>> read_ready(channel::StreamSocket& socket) {
  std::array<std::byte, channel::kReadySize> ready{};
  auto [ec, size] = co_await asio::async_read(socket, asio::buffer(ready), base::kTuple);
  if (ec) co_return base::fail(Code::unavailable, "launch_failed", "cannot restore the VM: its agent hung up");
  CR_CO_ASSIGN([[maybe_unused]] const auto record, channel::decode_ready(ready));
  co_return Result<void>{};
}

}  // namespace

FirecrackerVm::FirecrackerVm(std::shared_ptr<Machine> machine, std::shared_ptr<CappedLog> console,
                             std::optional<SavePlan> save_plan)
    : machine_(std::move(machine)), console_(std::move(console)), save_plan_(std::move(save_plan)) {}

FirecrackerVm::~FirecrackerVm() {
  machine_->end();
}

Awaitable<Result<void>> FirecrackerVm::connect(base::Deadline deadline) {
  CR_CO_ASSIGN(control_, co_await machine_->take(Stream::control, deadline));
  CR_CO_ASSIGN(network_, co_await machine_->take(Stream::network, deadline));
  co_return Result<void>{};
}

// The saved VM's connections are gone with it: the restored agent dials again, and says READY again.
Awaitable<Result<void>> FirecrackerVm::skip_ready(base::Deadline deadline) {
  CR_CO_TRY(co_await connect(deadline));
  co_return co_await base::with_deadline<void>(deadline, "restore the VM", read_ready(*control_));
}

Awaitable<Result<void>> FirecrackerVm::resume(base::Deadline deadline) {
  CR_CO_TRY(as_unavailable(co_await machine_->wait_started(deadline)));
  CR_CO_TRY(as_unavailable(co_await machine_->perform(resume_calls(), deadline)));
  co_return as_unavailable(co_await skip_ready(deadline));
}

Awaitable<Result<void>> FirecrackerVm::save(std::filesystem::path state, base::Deadline deadline) {
  if (!save_plan_) co_return base::fail(Code::internal, "cannot save a VM that was not launched to be saved");
  CR_CO_TRY(as_unavailable(co_await machine_->perform(save_calls(save_plan_->names), deadline)));
  CR_CO_ASSIGN(const auto bytes, base::read_all(save_plan_->state, "the VM's state", kMaxState));
  co_return base::write_file_atomically(state, bytes);
}

}  // namespace cleanroom::backends::firecracker
