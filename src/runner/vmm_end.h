#pragma once
#include "src/backends/backend.h"
#include "src/base/async/asio.h"
#include "src/base/os/result.h"

namespace cleanroom::runner {

// timeout: it has not ended by the deadline.
base::Awaitable<base::Result<backends::VmmEnd>> wait_for_vmm_end(backends::Vm& vm, base::Deadline deadline);

// To an error that says that a VM was lost (guest_failure; others stay as they are): how its VMM ended. Waits for that
// half a second at most, for a stream ends shortly before its process does; a VMM that is still there adds nothing.
base::Awaitable<void> add_vmm_end(backends::Vm& vm, base::Error& error);

}  // namespace cleanroom::runner
