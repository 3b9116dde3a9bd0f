#pragma once
// Time. Deadlines are absolute and monotonic; wall-clock time is only ever for people and records.
#include <chrono>
#include <string>

namespace cleanroom::base {

using SteadyClock = std::chrono::steady_clock;
using Deadline = SteadyClock::time_point;

inline Deadline deadline_in(std::chrono::milliseconds span) {
  return SteadyClock::now() + span;
}
// Milliseconds left, never negative.
inline std::chrono::milliseconds time_left(Deadline deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - SteadyClock::now());
  return left.count() > 0 ? left : std::chrono::milliseconds(0);
}

// RFC 3339 in UTC with milliseconds: 2026-11-23T20:14:05.123Z
std::string format_utc(std::chrono::system_clock::time_point when);
inline std::string format_utc_now() {
  return format_utc(std::chrono::system_clock::now());
}

}  // namespace cleanroom::base
