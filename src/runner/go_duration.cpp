#include "src/runner/go_duration.h"

#include "src/base/os/ascii.h"

#include <algorithm>
#include <charconv>

namespace cleanroom::runner {
namespace {

using Nanoseconds = double;  // exact up to 2^53 ns = 104 days, and a year is all that is accepted

constexpr Nanoseconds kYear = 365.0 * 24 * 3600 * 1e9;

struct Unit {
  std::string_view name;
  Nanoseconds scale;
};
// Longer names first: "ms" is not "m" and "s".
constexpr Unit kUnits[] = {{"ms", 1e6}, {"us", 1e3}, {"µs", 1e3}, {"ns", 1}, {"h", 3600e9}, {"m", 60e9}, {"s", 1e9}};

}  // namespace

std::optional<long> parse_digits(std::string_view text) {
  const bool digits = std::all_of(text.begin(), text.end(), base::is_ascii_digit);
  if (text.empty() || text.size() > 9 || !digits) return std::nullopt;
  long value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::optional<std::chrono::milliseconds> parse_go_duration(std::string_view text) {
  if (text == "0") return std::chrono::milliseconds{0};
  if (text.empty() || text.size() > 64) return std::nullopt;
  Nanoseconds total = 0;
  while (!text.empty()) {
    const std::size_t length = std::min(text.find_first_not_of("0123456789."), text.size());
    const std::string_view number = text.substr(0, length);
    double value = 0;
    const auto [end, error] =
        std::from_chars(number.data(), number.data() + number.size(), value, std::chars_format::fixed);
    if (error != std::errc{} || end != number.data() + number.size()) return std::nullopt;
    text.remove_prefix(length);
    const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                   [text](const Unit& one) { return text.starts_with(one.name); });
    if (unit == std::end(kUnits)) return std::nullopt;
    text.remove_prefix(unit->name.size());
    total += value * unit->scale;
    if (total > kYear) return std::nullopt;
  }
  return std::chrono::milliseconds{static_cast<std::int64_t>(total / 1e6)};
}

}  // namespace cleanroom::runner
