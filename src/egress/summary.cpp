#include "src/egress/summary.h"

#include "src/egress/limits.h"

namespace cleanroom::egress {

std::uint64_t Tally::count(const std::string& host, std::uint16_t port, model::Reason reason, const std::string& rule) {
  ++(reason == model::Reason::allowed ? totals_.allowed_total : totals_.denied_total);
  const auto key = std::make_tuple(host, port, reason);
  auto found = entries_.find(key);
  if (found == entries_.end()) {
    if (entries_.size() >= kMaxSummaryEntries) {
      ++totals_.not_listed;
      return 2;
    }
    found = entries_.emplace(key, SummaryEntry{host, port, reason, rule, 0}).first;
  }
  return ++found->second.count;
}

void Tally::add_bytes(std::uint64_t up, std::uint64_t down) {
  totals_.bytes_up += up;
  totals_.bytes_down += down;
}

Summary Tally::summary() const {
  auto summary = totals_;
  for (const auto& [key, entry] : entries_)
    (entry.reason == model::Reason::allowed ? summary.allowed : summary.denied).push_back(entry);
  return summary;
}

}  // namespace cleanroom::egress
