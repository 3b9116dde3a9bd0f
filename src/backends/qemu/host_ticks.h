#pragma once
// What one tick of an emulated time stamp counter is worth. QEMU's TCG hands the guest the host's own counter (an
// x86 host's TSC; nanoseconds elsewhere), at the host's rate, and the guest's kernel has no way to find that rate out
// that works on a busy host.
#include "src/base/os/clock.h"

#include <cstdint>

namespace cleanroom::backends::qemu {

class HostTicks {
 public:
  HostTicks();  // the first reading
  // Ticks per millisecond, from the readings then and now. Waits, busy, until they are kMinSpan apart.
  std::uint64_t khz() const;

 private:
  // Both clocks at one moment.
  struct Reading {
    base::Deadline time;
    std::uint64_t ticks = 0;
  };
  static Reading read();
  Reading begun_;
};

}  // namespace cleanroom::backends::qemu
