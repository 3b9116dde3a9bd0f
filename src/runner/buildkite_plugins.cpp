// What the list of a step's plugins says: our own entry in it, and the others, which run on the host.
#include "src/base/os/ascii.h"
#include "src/base/text/diagnostic.h"
#include "src/runner/buildkite_check.h"
#include "src/runner/buildkite_plugin_config.h"
#include "src/runner/plugin_json.h"
#include "src/runner/plugin_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::fail;
using base::Result;
using Json = nlohmann::json;

constexpr std::size_t kMaxPlugins = 100;
// These run the step's command themselves, on the host's side of the wall.
constexpr std::string_view kCommandPlugins[] = {"docker", "docker-compose", "anka", "metahook", "tart"};

struct Entry {
  std::string source;
  PluginSource parsed;
  Json configuration;
};

std::string own_name(const Environment& environment) {
  const std::string_view name = value_of(environment, "BUILDKITE_PLUGIN_NAME");
  if (name.empty()) return "cleanroom";
  // Agents write it upper-case with '_' (CLEANROOM_GIT); names are compared as the agent derives them.
  std::string result;
  for (const char c : name)
    result += c == '_' ? '-' : base::ascii_lower(c);
  return result;
}

Result<std::vector<Entry>> entries_of(const Environment& environment) {
  std::vector<Entry> entries;
  const std::string_view text = value_of(environment, "BUILDKITE_PLUGINS");
  if (text.empty()) return entries;
  CR_ASSIGN(const Json json, parse_plugin_json(text, "BUILDKITE_PLUGINS"));
  const auto refuse = [] {
    return fail(Code::invalid_input, "plugin_invalid", "cannot read BUILDKITE_PLUGINS: not a list of plugins");
  };
  if (!json.is_array() || json.size() > kMaxPlugins) return refuse();
  for (const Json& item : json) {
    if (item.is_string()) {
      entries.push_back({item.get<std::string>(), PluginSource::parse(item.get<std::string>()), Json()});
    } else if (item.is_object()) {
      for (const auto& [source, configuration] : item.items())
        entries.push_back({source, PluginSource::parse(source), configuration});
    } else {
      return refuse();
    }
  }
  return entries;
}

// Where the agent would find the plugin's command hook: with and without the agent's name in between (since v3.67).
std::vector<std::string> command_hooks(const Environment& environment, const PluginSource& plugin) {
  std::vector<std::string> folders;
  if (plugin.vendored) {
    folders.push_back(fmt::format("{}/{}", value_of(environment, "BUILDKITE_BUILD_CHECKOUT_PATH"), plugin.location));
  } else {
    const std::string root(value_of(environment, "BUILDKITE_PLUGINS_PATH"));
    const std::string below = plugin.identifier() + (plugin.subdirectory().empty() ? "" : "/" + plugin.subdirectory());
    folders.push_back(fmt::format("{}/{}/{}", root, value_of(environment, "BUILDKITE_AGENT_NAME"), below));
    folders.push_back(fmt::format("{}/{}", root, below));
  }
  std::vector<std::string> paths;
  for (const std::string& folder : folders) {
    paths.push_back(folder + "/hooks/command");
    paths.push_back(folder + "/hooks/command.ps1");
  }
  return paths;
}

base::Failure conflict(std::string message, std::string hint) {
  return fail(base::Error(Code::policy_denied, "plugin_conflict", std::move(message)).with_hint(std::move(hint)));
}

}  // namespace

std::string plugin_name_of(std::string_view source) {
  return PluginSource::parse(source).name();
}

Result<PluginOptions> read_plugin_options(const Environment& environment) {
  CR_ASSIGN(const std::vector<Entry> entries, entries_of(environment));
  const std::string name = own_name(environment);
  std::vector<const Entry*> own;
  for (const Entry& entry : entries) {
    if (entry.parsed.name() == name) own.push_back(&entry);
  }
  const std::string_view text = value_of(environment, "BUILDKITE_PLUGIN_CONFIGURATION");
  if (text.empty()) {
    if (own.size() == 1) return plugin_options_from(own.front()->configuration);
    return fail(base::Error(Code::invalid_input, "plugin_invalid",
                            "cannot find the plugin's options: neither BUILDKITE_PLUGIN_CONFIGURATION nor "
                            "BUILDKITE_PLUGINS has them")
                    .with_hint("--buildkite is for the hooks of the plugin"));
  }
  CR_ASSIGN(const Json configuration, parse_plugin_json(text, "the plugin's options"));
  // Where the agent left the variable out (a null in the options), one of the step's `env:` would show through.
  const bool listed = std::any_of(own.begin(), own.end(), [&configuration](const Entry* entry) {
    return entry->configuration == configuration ||
           (entry->configuration.is_null() && configuration.is_object() && configuration.empty());
  });
  if (!entries.empty() && !listed) {
    if (own.size() == 1) CR_TRY(plugin_options_from(own.front()->configuration));
    return fail(Code::invalid_input, "plugin_invalid",
                "cannot use the plugin's options: BUILDKITE_PLUGIN_CONFIGURATION is not what the step's plugins say");
  }
  return plugin_options_from(configuration);
}

Result<Notes> check_other_plugins(const Environment& environment,
                                  const std::function<bool(const std::string&)>& is_file) {
  CR_ASSIGN(const std::vector<Entry> entries, entries_of(environment));
  const std::string name = own_name(environment);
  Notes notes;
  std::size_t own = 0;
  for (const Entry& entry : entries) {
    const std::string other = entry.parsed.name();
    if (other == name) {
      if (++own > 1) return conflict(fmt::format("cannot run the step: '{}' is in its plugins twice", name), {});
      continue;
    }
    // The Kubernetes controller takes these out of the list and reads them itself.
    if (other == "kubernetes") continue;
    const auto paths = command_hooks(environment, entry.parsed);
    const bool known =
        std::find(std::begin(kCommandPlugins), std::end(kCommandPlugins), other) != std::end(kCommandPlugins);
    if (known || std::any_of(paths.begin(), paths.end(), is_file))
      return conflict(fmt::format("cannot run the step in a microVM: plugin {} would run its command on the host",
                                  base::quote_text(other)),
                      "a step has one plugin with a command hook");
    notes.push_back(
        {Note::Level::warning,
         fmt::format("plugin {} of this step runs on the host, outside of the microVM", base::quote_text(other))});
  }
  return notes;
}

Result<BuildkiteStep> check_buildkite_step(const Environment& environment,
                                           const std::vector<std::string>& operator_allowed) {
  CR_ASSIGN(PluginOptions options, read_plugin_options(environment));
  const auto is_file = [](const std::string& path) {
    std::error_code ignored;
    return std::filesystem::is_regular_file(path, ignored);
  };
  CR_ASSIGN(Notes notes, check_other_plugins(environment, is_file));
  // Tried for its refusals; the real one is made when the step's own variables are known.
  CR_TRY(job_environment(environment, {.requested = options.environment, .operator_allowed = operator_allowed}));
  return BuildkiteStep{std::move(options), std::move(notes)};
}

}  // namespace cleanroom::runner
