#pragma once
// Note: something a person may want to know about how a job was set up; it never changes the outcome.
#include <string>
#include <vector>

namespace cleanroom::runner {

struct Note {
  enum class Level {
    debug,    // shown only with the plugin's `debug: true`
    warning,  // always shown, one line
  };
  Level level = Level::warning;
  std::string text;  // one line, lower-case, no trailing dot, no value of a variable, control characters escaped
};
using Notes = std::vector<Note>;

}  // namespace cleanroom::runner
