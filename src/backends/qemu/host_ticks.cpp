#include "src/backends/qemu/host_ticks.h"

namespace cleanroom::backends::qemu {

namespace {

// A reading of both clocks is exact to well below a microsecond: 5 ms make 0.01 %, and a run takes longer than that to
// get to its VM.
constexpr std::chrono::milliseconds kMinSpan{5};

// A thread that loses its processor between two readings makes them two moments: the closest of some tries counts.
constexpr int kTries = 8;

std::uint64_t read_counter() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  const auto now = base::SteadyClock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
#endif
}

}  // namespace

HostTicks::HostTicks() : begun_(read()) {}

HostTicks::Reading HostTicks::read() {
  Reading best;
  std::uint64_t least = ~std::uint64_t{0};
  for (int i = 0; i < kTries; ++i) {
    const auto before = read_counter();
    const auto time = base::SteadyClock::now();
    const auto between = read_counter() - before;
    if (between >= least) continue;
    least = between;
    best = {time, before + between / 2};
  }
  return best;
}

std::uint64_t HostTicks::khz() const {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  Milliseconds span{};
  std::uint64_t ticks = 0;
  do {
    const auto now = read();
    span = now.time - begun_.time;
    ticks = now.ticks - begun_.ticks;
  } while (span < kMinSpan);
  return static_cast<std::uint64_t>(static_cast<double>(ticks) / span.count());
}

}  // namespace cleanroom::backends::qemu
