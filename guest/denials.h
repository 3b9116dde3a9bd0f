#pragma once
// Denials: what the job tried and may not, for the host's audit. A job can try as often as it likes, so each (name,
// port) is told once, and of all of them the first kMaxDenials.
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cleanroom::guest {

inline constexpr std::size_t kMaxDenials = 64;
// What the host takes in one request.
inline constexpr std::size_t kMaxReport = 4096;
inline constexpr std::size_t kMaxReportLines = 32;

class Denials {
 public:
  // Port 0: the name was refused by the DNS.
  void add(std::string_view name, std::uint16_t port);
  // Lines not told yet, one request's worth: `name port`, or `name -` for port 0. Empty when there is nothing new.
  std::string take_report();

 private:
  std::set<std::pair<std::string, std::uint16_t>> known_;
  std::vector<std::string> pending_;  // lines
};

}  // namespace cleanroom::guest
