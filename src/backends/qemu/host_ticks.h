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
  static std::uint64_t read();
  base::Deadline begun_;
  std::uint64_t ticks_;
};

}  // namespace cleanroom::backends::qemu
