#pragma once
// Pacer: a token bucket that makes callers wait instead of refusing them. DistinctNames: how many new names a minute.
#include "src/base/async/asio.h"

#include <string>
#include <unordered_set>

namespace cleanroom::egress {

class Pacer {
 public:
  Pacer(double per_second, double burst) : interval_(1.0 / per_second), tolerance_(burst / per_second) {}
  // When the next one may start: at or before `now` while the burst lasts. Counts it.
  base::Deadline reserve(base::Deadline now);

 private:
  using Seconds = std::chrono::duration<double>;
  Seconds interval_;
  Seconds tolerance_;
  base::Deadline full_at_{};  // when the bucket is full again (the generic cell rate algorithm)
};

class DistinctNames {
 public:
  DistinctNames(std::size_t per_minute, std::size_t known) : per_minute_(per_minute), known_limit_(known) {}
  // False when the name is new and this minute has had its share. Known names always pass.
  bool admit(const std::string& name, base::Deadline now);

 private:
  std::size_t per_minute_;
  std::size_t known_limit_;
  std::size_t new_in_minute_ = 0;
  base::Deadline minute_start_{};
  std::unordered_set<std::string> known_;
};

}  // namespace cleanroom::egress
