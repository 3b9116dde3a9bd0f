#include "src/backends/qemu/host_ticks.h"

namespace cleanroom::backends::qemu {

namespace {

// A reading of both clocks is exact to well below a microsecond: 5 ms make 0.01 %, and a run takes longer than that to
// get to its VM.
constexpr std::chrono::milliseconds kMinSpan{5};

}  // namespace

HostTicks::HostTicks() : begun_(base::SteadyClock::now()), ticks_(read()) {}

std::uint64_t HostTicks::read() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  const auto now = base::SteadyClock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
#endif
}

std::uint64_t HostTicks::khz() const {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  Milliseconds span{};
  std::uint64_t ticks = 0;
  do {
    span = base::SteadyClock::now() - begun_;
    ticks = read() - ticks_;
  } while (span < kMinSpan);
  return static_cast<std::uint64_t>(static_cast<double>(ticks) / span.count());
}

}  // namespace cleanroom::backends::qemu
