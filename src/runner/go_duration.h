#pragma once
// Durations as Go prints and reads them, which is how the agent writes them into a job's environment.
#include <chrono>
#include <optional>
#include <string_view>

namespace cleanroom::runner {

// "1h30m", "90s", "1.5s", "500ms", "0": no sign, units h, m, s, ms, us, ns in any order. nullopt: anything else, or
// more than a year. Rounded down to milliseconds.
std::optional<std::chrono::milliseconds> parse_go_duration(std::string_view text);

// Digits only, at most nine of them.
std::optional<long> parse_digits(std::string_view text);

}  // namespace cleanroom::runner
