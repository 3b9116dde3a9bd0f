#pragma once
// A Firecracker VM as the runner sees it: the process and its API (machine.h), its three logs, and where a snapshot
// goes.
#include "src/backends/backend.h"
#include "src/backends/capped_log.h"
#include "src/backends/firecracker/machine.h"

#include <memory>
#include <optional>
#include <string>

namespace cleanroom::backends::firecracker {

// For a VM that is to be saved.
struct SavePlan {
  Snapshot names;  // of the files that Firecracker writes
  base::Fd state;  // the one of names.state_path, empty until then
};

class FirecrackerVm final : public Vm {
 public:
  FirecrackerVm(std::shared_ptr<Machine> machine, std::shared_ptr<CappedLog> console,
                std::optional<SavePlan> save_plan);
  ~FirecrackerVm() override;

  base::Awaitable<base::Result<void>> connect(base::Deadline deadline) override;
  channel::StreamSocket take_control() override { return std::move(*control_); }
  channel::StreamSocket take_network() override { return std::move(*network_); }
  pid_t pid() const override { return machine_->pid(); }
  base::Awaitable<base::Result<void>> save(std::filesystem::path state, base::Deadline deadline) override;
  base::Awaitable<base::Result<void>> resume(base::Deadline deadline) override;
  base::Awaitable<VmmEnd> wait_end() override { return machine_->wait_end(); }
  void kill() override { machine_->kill(); }
  std::string console_tail(std::size_t max_bytes) const override { return console_->tail(max_bytes); }

 private:
  base::Awaitable<base::Result<void>> skip_ready(base::Deadline deadline);

  std::shared_ptr<Machine> machine_;
  std::shared_ptr<CappedLog> console_;
  std::optional<SavePlan> save_plan_;
  std::optional<channel::StreamSocket> control_;
  std::optional<channel::StreamSocket> network_;
};

}  // namespace cleanroom::backends::firecracker
