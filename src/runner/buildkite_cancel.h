#pragma once
// How long there is between the agent's SIGTERM and its SIGKILL, and what of it the runner takes for itself. In the
// same window the agent still wants to run post-command, artifact upload and pre-exit.
#include "src/runner/job_environment.h"
#include "src/runner/note.h"

#include <chrono>

namespace cleanroom::runner {

struct CancelDeadlines {
  std::chrono::milliseconds grace{};      // D: signal to SIGKILL
  std::chrono::milliseconds hard_stop{};  // after the signal: the VM is killed at the latest; D - 4 s
  std::chrono::milliseconds exit_by{};    // after the signal: the runner has exited; D - 2 s
  Notes notes;                            // values that are no durations and were passed over
};

inline constexpr std::chrono::seconds kDefaultCancelGrace{9};
// No agent waits longer by default, and a step's env can say anything.
inline constexpr std::chrono::seconds kMaxCancelGrace{600};

// Pure. D is the first of BUILDKITE_CANCEL_SIGNAL_TIMEOUT (v4), BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS (v3.110),
// BUILDKITE_CANCEL_GRACE_PERIOD - 1 s (v3.77), 9 s. A D below 6 s is cut in thirds. Integers are seconds; else Go
// durations ("1m30s", "500ms").
CancelDeadlines cancel_deadlines(const Environment& environment);

}  // namespace cleanroom::runner
