#include "src/runner/buildkite_cancel.h"

#include "src/runner/go_duration.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace std::chrono_literals;

TEST_CASE("FLT-02 the deadlines of a cancelled job come from the agent that runs it") {
  struct Case {
    runner::Environment environment;
    std::chrono::milliseconds grace;
    std::chrono::milliseconds hard_stop;
    std::chrono::milliseconds exit_by;
  };
  const Case cases[] = {
      {{}, 9s, 5s, 7s},
      {{{"BUILDKITE_CANCEL_GRACE_PERIOD", "10"}}, 9s, 5s, 7s},
      {{{"BUILDKITE_CANCEL_GRACE_PERIOD", "60"}}, 59s, 55s, 57s},
      {{{"BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS", "9"}, {"BUILDKITE_CANCEL_GRACE_PERIOD", "30"}}, 9s, 5s, 7s},
      {{{"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "1m30s"}, {"BUILDKITE_CANCEL_GRACE_PERIOD", "10"}}, 90s, 86s, 88s},
      {{{"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "10s"}}, 10s, 6s, 8s},
      {{{"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "6s"}}, 6s, 2s, 4s},
      {{{"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "3s"}}, 3s, 1s, 2s},
      {{{"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "0s"}}, 0s, 0s, 0s},
      {{{"BUILDKITE_CANCEL_GRACE_PERIOD", "0"}}, 0s, 0s, 0s},
      {{{"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "999h"}}, 600s, 596s, 598s},
      {{{"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", ""}}, 9s, 5s, 7s},
  };
  for (const Case& one : cases) {
    const auto deadlines = runner::cancel_deadlines(one.environment);
    CHECK(deadlines.grace == one.grace);
    CHECK(deadlines.hard_stop == one.hard_stop);
    CHECK(deadlines.exit_by == one.exit_by);
    CHECK(deadlines.notes.empty());
  }
}

TEST_CASE("a value that is no duration is passed over, and said") {
  for (const char* bad : {"soon", "-5s", "1e3", "10 s", "s", "5x", "99999999999999999999"}) {
    const auto deadlines = runner::cancel_deadlines(
        {{"BUILDKITE_CANCEL_SIGNAL_TIMEOUT", bad}, {"BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS", "20"}});
    CAPTURE(bad);
    CHECK(deadlines.grace == 20s);
    CHECK(deadlines.notes.size() == 1);
  }
}

TEST_CASE("Go durations") {
  const std::pair<const char*, std::chrono::milliseconds> good[] = {
      {"0", 0ms}, {"1h30m", 90min}, {"1.5s", 1500ms}, {"500ms", 500ms}, {"1m0s", 1min}, {".5s", 500ms}, {"1500us", 1ms},
  };
  for (const auto& [text, value] : good)
    CHECK(runner::parse_go_duration(text) == value);
  for (const char* bad : {"", "1", "1.2.3s", "s", "1s ", " 1s", "+1s", "inf", "nans", "0x1s", "1e9s", "9000h1s1d"})
    CHECK_FALSE(runner::parse_go_duration(bad));
}
