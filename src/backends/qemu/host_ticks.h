#pragma once
// What one tick of an emulated time stamp counter is worth. QEMU's TCG hands the guest the host's own counter (an
// x86 host's TSC; nanoseconds elsewhere), at the host's rate, and the guest's kernel has no way to find that rate out
// that works on a busy host.
#include "src/base/os/clock.h"

#include <cstdint>
#include <filesystem>
#include <optional>

namespace cleanroom::backends::qemu {

class HostTicks {
 public:
  // The first reading. The rate is kept in `cache_directory`, which may be empty.
  explicit HostTicks(std::filesystem::path cache_directory);
  // Ticks per millisecond: what was found first in this boot of the host, where that is still about true. So all
  // callers have one value, and a template's key does not change with the error of a measurement. Else from the two
  // readings, then and now; waits, busy, until they are kMinSpan apart, or kCheckSpan for a look at what is kept.
  std::uint64_t khz() const;

 private:
  // Both clocks at one moment.
  struct Reading {
    base::Deadline time;
    std::uint64_t ticks = 0;
  };
  static Reading read();
  std::uint64_t measure(std::chrono::milliseconds min_span) const;
  std::uint64_t find_khz() const;
  std::filesystem::path cache_;
  Reading begun_;
  mutable std::optional<std::uint64_t> khz_;
};

}  // namespace cleanroom::backends::qemu
