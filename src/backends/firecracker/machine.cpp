#include "src/backends/firecracker/machine.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <signal.h>

#include <algorithm>

namespace cleanroom::backends::firecracker {

namespace asio = base::asio;
using base::Awaitable;
using base::Code;
using base::Result;

namespace {

Awaitable<void> keep_alive([[maybe_unused]] std::shared_ptr<Machine> machine, Awaitable<void> work) {
  co_await std::move(work);
}

base::Error late() {
  return {Code::timeout, "launch_timeout", "cannot start the VM: no result within its time limit"};
}

}  // namespace

Machine::Machine(asio::any_io_executor executor, MachineParts parts)
    : executor_(std::move(executor)),
      directory_(std::move(parts.directory)),
      directory_fd_(std::move(parts.jailed.directory)),
      control_(std::move(parts.control)),
      network_(std::move(parts.network)),
      loans_(std::move(parts.loans)),
      cgroup_(std::move(parts.jailed.cgroup)),
      process_(std::move(parts.jailed.process)),
      pid_(process_->pid()),
      changed_(executor_) {}

void Machine::run(std::vector<ApiCall> calls) {
  asio::co_spawn(executor_, keep_alive(shared_from_this(), watch()), asio::detached);
  asio::co_spawn(executor_, keep_alive(shared_from_this(), accept(Stream::control)), asio::detached);
  asio::co_spawn(executor_, keep_alive(shared_from_this(), accept(Stream::network)), asio::detached);
  asio::co_spawn(executor_, keep_alive(shared_from_this(), start(std::move(calls))), asio::detached);
}

Awaitable<void> Machine::start(std::vector<ApiCall> calls) {
  auto done = co_await connect_api();
  if (done) done = co_await perform(std::move(calls), base::deadline_in(kCallLimit));
  if (!done) co_return fail_start(std::move(done).error());
  started_ = true;
  changed_.notify_all();
}

// A VMM that could not be started is of no use, whatever state it is in.
void Machine::fail_start(base::Error error) {
  if (!failure_) failure_ = std::move(error);
  if (process_) process_->signal(SIGKILL);
  changed_.notify_all();
}

// Another process's bind() and listen() cannot be waited for: the socket is tried until it is there.
Awaitable<Result<void>> Machine::connect_api() {
  const auto deadline = base::deadline_in(kApiSocketLimit);
  while (process_ && !exit_) {
    asio::local::stream_protocol::socket socket(executor_);
    const asio::local::stream_protocol::endpoint endpoint(socket_path(directory_fd_, kApiSocket));
    auto [ec] = co_await socket.async_connect(endpoint, base::kTuple);
    if (!ec) {
      api_.emplace(std::move(socket));
      co_return Result<void>{};
    }
    if (base::time_left(deadline).count() == 0) {
      co_return base::fail(Code::timeout, "launch_timeout", "cannot start the VM: Firecracker opens no API socket");
    }
    co_await changed_.wait_until(std::min(deadline, base::deadline_in(kApiSocketPause)));
  }
  co_return base::fail(ended_early());
}

Awaitable<void> Machine::accept(Stream stream) {
  auto socket = co_await listener(stream).accept();
  if (!socket || !process_) co_return;
  streams_[static_cast<std::size_t>(stream)] = std::move(*socket);
  changed_.notify_all();
}

Awaitable<void> Machine::watch() {
  // A pidfd becomes readable when its process ends.
  asio::posix::stream_descriptor pidfd(executor_, ::dup(process_->pidfd().get()));
  while (process_ && !exit_) {
    exit_ = process_->try_wait();
    if (!exit_) co_await pidfd.async_wait(asio::posix::stream_descriptor::wait_read, base::kTuple);
  }
  out_of_memory_ = cgroup_.ran_out_of_memory();
  cgroup_ = {};  // not left to end(): a run may end without it
  changed_.notify_all();
}

base::Error Machine::ended_early() const {
  const auto how = exit_ ? ": " + to_string(VmmEnd{*exit_, out_of_memory_}) : std::string();
  return {Code::guest_failure, "launch_failed",
          "cannot start the VM: Firecracker ended before the guest was ready" + how};
}

std::optional<base::Error> Machine::dead() const {
  if (failure_) return failure_;
  if (exit_ || !process_) return ended_early();
  return std::nullopt;
}

Awaitable<Result<channel::StreamSocket>> Machine::take(Stream stream, base::Deadline deadline) {
  auto& slot = streams_[static_cast<std::size_t>(stream)];
  while (!slot) {
    if (auto why = dead()) co_return base::fail(std::move(*why));
    if (!co_await changed_.wait_until(deadline)) co_return base::fail(late());
  }
  channel::StreamSocket socket = std::move(*slot);
  slot.reset();
  co_return socket;
}

Awaitable<Result<void>> Machine::wait_started(base::Deadline deadline) {
  while (!started_) {
    if (auto why = dead()) co_return base::fail(std::move(*why));
    if (!co_await changed_.wait_until(deadline)) co_return base::fail(late());
  }
  co_return Result<void>{};
}

Awaitable<Result<void>> Machine::perform(std::vector<ApiCall> calls, base::Deadline deadline) {
  while (calling_) {
    if (!co_await changed_.wait_until(deadline)) co_return base::fail(late());
  }
  if (!api_ || !process_) co_return base::fail(ended_early());
  calling_ = true;
  Result<void> done;
  for (auto& call : calls) {
    done = co_await api_->call(std::move(call), deadline);
    if (!done) break;
  }
  calling_ = false;
  changed_.notify_all();
  co_return done;
}

Awaitable<VmmEnd> Machine::wait_end() {
  while (process_ && !exit_)
    co_await changed_.wait();
  co_return VmmEnd{exit_.value_or(base::ExitStatus{.code = 0, .signal = SIGKILL}), out_of_memory_};
}

Awaitable<void> Machine::flush_and_kill() {
  std::vector<ApiCall> calls;
  calls.push_back(flush_metrics_call());
  (void)co_await perform(std::move(calls), base::deadline_in(kFlushLimit));
  if (process_) process_->signal(SIGKILL);
}

void Machine::kill() {
  if (!process_ || exit_ || std::exchange(killing_, true)) return;
  if (!api_ || calling_) return process_->signal(SIGKILL);
  asio::co_spawn(executor_, keep_alive(shared_from_this(), flush_and_kill()), asio::detached);
}

void Machine::end() {
  if (!process_) return;
  if (!exit_) exit_ = process_->try_wait();
  control_.close();
  network_.close();
  if (api_) api_->close();
  process_.reset();  // kills and reaps
  cgroup_ = {};
  loans_.clear();
  directory_.reset();
  changed_.notify_all();
}

}  // namespace cleanroom::backends::firecracker
