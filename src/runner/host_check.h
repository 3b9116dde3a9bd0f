#pragma once
// What this host has of all that a run needs, and what it lacks: for `cleanroom doctor`. Looks, and changes nothing but
// the kept answer of the KVM probe.
#include "src/backends/backend.h"

#include <string>
#include <vector>

namespace cleanroom::runner {

enum class CheckState {
  ok,
  advice,   // jobs run; something could be safer or faster
  missing,  // no job runs until it is mended
};
std::string_view to_string(CheckState state);

struct HostCheck {
  std::string name;  // stable, snake_case
  CheckState state = CheckState::ok;
  std::string found;  // what is there, one line
  std::string why;    // why it matters; empty when all is well
  std::string mend;   // the command or setting that mends it; empty when all is well
};

// What a backend can do here.
struct BackendSummary {
  std::string name;
  bool usable = false;
  std::string why_not;
  std::string accelerator;  // kvm | tcg
  bool hardware_isolation = false;
  bool templates = false;
};

struct HostReport {
  std::vector<HostCheck> checks;
  std::vector<BackendSummary> backends;
  backends::jail::Isolation isolation;  // of VMMs, by this host
  bool can_run_jobs() const;            // nothing is missing
};

// Blocks: starts QEMU once or twice, some 100 ms.
HostReport check_host();

}  // namespace cleanroom::runner
