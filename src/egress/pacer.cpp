#include "src/egress/pacer.h"

#include <algorithm>

namespace cleanroom::egress {

base::Deadline Pacer::reserve(base::Deadline now) {
  const auto as_ticks = [](Seconds span) { return std::chrono::duration_cast<base::Deadline::duration>(span); };
  const auto full = std::max(full_at_, now);
  full_at_ = full + as_ticks(interval_);
  return full_at_ - as_ticks(tolerance_);
}

bool DistinctNames::admit(const std::string& name, base::Deadline now) {
  if (known_.contains(name)) return true;
  if (now - minute_start_ >= std::chrono::minutes(1)) {
    minute_start_ = now;
    new_in_minute_ = 0;
  }
  if (new_in_minute_ >= per_minute_ || known_.size() >= known_limit_) return false;
  ++new_in_minute_;
  known_.insert(name);
  return true;
}

}  // namespace cleanroom::egress
