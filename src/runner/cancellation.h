#pragma once
// Cancellation: SIGTERM, SIGINT, SIGHUP and SIGQUIT mean the same. The first asks the job to end (the signal goes to
// its process group in the guest) and sets the hard stop; a second one stops at once. The runner never dies by a
// signal: Buildkite would show 255, and nothing would be torn down.
#include "src/base/async/asio.h"
#include "src/base/async/event.h"
#include "src/runner/buildkite_cancel.h"

#include <boost/asio/signal_set.hpp>

#include <functional>

namespace cleanroom::runner {

class Cancellation {
 public:
  Cancellation(const base::asio::any_io_executor& executor, CancelDeadlines deadlines);
  // Handles signals until the object goes; spawned once.
  base::Awaitable<void> watch();
  // Ends watch().
  void stop() { signals_.cancel(); }

  bool requested() const { return signal_ != 0; }
  int signal() const { return signal_; }  // the first one
  // When the VM must be gone; only after requested().
  base::Deadline hard_stop() const { return hard_stop_; }
  // When this process should be gone; only after requested(), else never.
  base::Deadline exit_by() const { return exit_by_; }
  // Completes when something has changed: the first signal, the second.
  base::Awaitable<void> changed() { return changed_.wait(); }
  // Completes at the first signal (at once if there was one).
  base::Awaitable<void> wait_requested();
  // Completes when the VM must be killed: hard stop, or a second signal. Never without a signal.
  base::Awaitable<void> wait_hard_stop();

 private:
  base::asio::signal_set signals_;
  CancelDeadlines deadlines_;
  base::Event changed_;
  base::Deadline hard_stop_ = base::Deadline::max();
  base::Deadline exit_by_ = base::Deadline::max();
  int signal_ = 0;
};

}  // namespace cleanroom::runner
