#pragma once
// A plugin's source as a pipeline writes it, and what the agent makes of it (agent/plugin/plugin.go).
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::runner {

struct PluginSource {
  std::string scheme;    // "https", "ssh", "file"; may be empty
  std::string location;  // host and path
  std::string version;   // after '#'; may be empty
  bool vendored = false;

  static PluginSource parse(std::string_view source);
  // "docker" for github.com/buildkite-plugins/docker-buildkite-plugin.
  std::string name() const;
  // The folder it is checked out to, below $BUILDKITE_PLUGINS_PATH/<agent name>.
  std::string identifier() const;
  // Inside its repository; empty for the root.
  std::string subdirectory() const;
};

}  // namespace cleanroom::runner
