#pragma once
// A QEMU process and what joins us to it.
#include "src/backends/backend.h"
#include "src/backends/capped_log.h"
#include "src/backends/jail/jail.h"
#include "src/backends/qemu/qmp_client.h"

#include <signal.h>

#include <optional>

namespace cleanroom::backends::qemu {

// Our ends of what the process was given.
struct QemuLinks {
  base::Fd control;
  base::Fd network;
  jail::Loan memory = {};  // of a machine that is to be saved
  base::Fd monitor;        // of a machine that is to be saved, or of a restored one after load_commands(); else none
};

// What a machine that is to be restored reads from its monitor first: negotiation, and to load the state from its
// descriptor of that number. Lines, each with its newline.
std::string load_commands(int state_number);

class QemuVm final : public Vm {
 public:
  QemuVm(const base::asio::any_io_executor& executor, jail::JailedProcess jailed, QemuLinks links,
         std::shared_ptr<CappedLog> log);

  // Its channels are connected before the process starts.
  base::Awaitable<base::Result<void>> connect([[maybe_unused]] base::Deadline deadline) override {
    co_return base::Result<void>{};
  }
  channel::StreamSocket take_control() override { return as_socket(std::move(links_.control)); }
  channel::StreamSocket take_network() override { return as_socket(std::move(links_.network)); }
  pid_t pid() const override { return process_.pid(); }
  base::Awaitable<base::Result<void>> save(std::filesystem::path state, base::Deadline deadline) override;
  base::Awaitable<base::Result<void>> resume(base::Deadline deadline) override;
  base::Awaitable<VmmEnd> wait_end() override;
  void kill() override { process_.signal(SIGKILL); }
  std::string console_tail(std::size_t max_bytes) const override { return log_->tail(max_bytes); }

 private:
  channel::StreamSocket as_socket(base::Fd fd);
  base::Awaitable<base::Result<void>> save_to(std::filesystem::path state);
  base::Awaitable<base::Result<void>> go_when_loaded();

  base::asio::any_io_executor executor_;
  jail::CgroupLeaf cgroup_;  // these two go after their process
  QemuLinks links_;
  base::Process process_;
  bool out_of_memory_ = false;
  std::shared_ptr<CappedLog> log_;
  std::optional<QmpClient> monitor_;
};

}  // namespace cleanroom::backends::qemu
