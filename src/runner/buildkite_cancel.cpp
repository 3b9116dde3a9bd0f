#include "src/runner/buildkite_cancel.h"

#include "src/runner/go_duration.h"

#include <algorithm>
#include <optional>
#include <string_view>

namespace cleanroom::runner {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

struct Source {
  std::string_view variable;
  milliseconds taken_off;  // what the agent keeps of it for itself
};
constexpr Source kSources[] = {
    {"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", 0ms},
    {"BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS", 0ms},
    {"BUILDKITE_CANCEL_GRACE_PERIOD", 1s},
};

std::optional<milliseconds> parse(std::string_view text) {
  if (const auto seconds = parse_digits(text)) return std::chrono::seconds{*seconds};
  return parse_go_duration(text);
}

milliseconds grace_of(const Environment& environment, Notes& notes) {
  for (const Source& source : kSources) {
    const auto found = environment.find(source.variable);
    if (found == environment.end() || found->second.empty()) continue;
    const auto value = parse(found->second);
    if (value) return std::clamp<milliseconds>(*value - source.taken_off, 0ms, kMaxCancelGrace);
    notes.push_back({Note::Level::warning, std::string(source.variable) + " is not a duration; it is passed over"});
  }
  return kDefaultCancelGrace;
}

}  // namespace

CancelDeadlines cancel_deadlines(const Environment& environment) {
  CancelDeadlines deadlines;
  const milliseconds grace = grace_of(environment, deadlines.notes);
  deadlines.grace = grace;
  deadlines.hard_stop = grace >= 6s ? grace - 4s : grace / 3;
  deadlines.exit_by = grace >= 6s ? grace - 2s : grace * 2 / 3;
  return deadlines;
}

}  // namespace cleanroom::runner
