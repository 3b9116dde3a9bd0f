#include "guest/denials.h"

#include <fmt/format.h>

namespace cleanroom::guest {

void Denials::add(std::string_view name, std::uint16_t port) {
  if (known_.size() == kMaxDenials || !known_.emplace(name, port).second) return;
  pending_.push_back(port == 0 ? fmt::format("{} -\n", name) : fmt::format("{} {}\n", name, port));
}

std::string Denials::take_report() {
  std::string report;
  auto line = pending_.begin();
  for (std::size_t lines = 0; lines < kMaxReportLines && line != pending_.end(); ++lines, ++line) {
    if (report.size() + line->size() > kMaxReport) break;
    report += *line;
  }
  pending_.erase(pending_.begin(), line);
  return report;
}

}  // namespace cleanroom::guest
