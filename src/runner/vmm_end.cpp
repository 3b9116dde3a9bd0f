#include "src/runner/vmm_end.h"

#include "src/base/async/event.h"

namespace cleanroom::runner {

using base::Awaitable;
using base::Result;

namespace {

constexpr std::chrono::milliseconds kEndLimit{500};

Awaitable<Result<backends::VmmEnd>> end_of(backends::Vm& vm) {
  co_return co_await vm.wait_end();
}

}  // namespace

Awaitable<Result<backends::VmmEnd>> wait_for_vmm_end(backends::Vm& vm, base::Deadline deadline) {
  co_return co_await base::with_deadline<backends::VmmEnd>(deadline, "end the VM", end_of(vm));
}

Awaitable<void> add_vmm_end(backends::Vm& vm, base::Error& error) {
  if (error.code != base::Code::guest_failure) co_return;
  const auto end = co_await wait_for_vmm_end(vm, base::deadline_in(kEndLimit));
  if (end) error.message += "; its VMM ended: " + to_string(*end);
}

}  // namespace cleanroom::runner
