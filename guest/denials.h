#pragma once
// Denials: what the job tried and may not, for the host's audit. A job can try as often as it likes, so each (name,
// port) is told once, the first kMaxDenials of them; of the rest only the number is known.
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace cleanroom::guest {

inline constexpr std::size_t kMaxDenials = 64;

class Denials {
 public:
  // Port 0: the name was refused by the DNS.
  void add(std::string_view name, std::uint16_t port);
  // Lines not told yet, `name port`; empty when there is nothing new.
  std::string take_listed() { return std::exchange(pending_, {}); }
  // `+ N` when N attempts more were not listed since the last call, else empty.
  std::string take_unlisted();

 private:
  std::set<std::pair<std::string, std::uint16_t>> known_;
  std::string pending_;
  std::uint64_t unlisted_ = 0;
};

}  // namespace cleanroom::guest
