#include "src/runner/buildkite_plugin_config.h"

#include "src/base/text/diagnostic.h"
#include "src/base/text/did_you_mean.h"
#include "src/runner/default_command.h"
#include "src/runner/go_duration.h"
#include "src/runner/plugin_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::fail;
using base::Result;
using Json = nlohmann::json;

constexpr std::string_view kPluginInvalid = "plugin_invalid";
constexpr std::size_t kMaxListItems = 1000;
constexpr std::size_t kMaxText = 64 * 1024;
constexpr std::uint32_t kMaxVcpus = 256;
constexpr std::uint64_t kMinMemoryMib = 64;
constexpr std::uint64_t kMaxMemoryMib = 1024 * 1024;
constexpr std::chrono::hours kMaxTimeout{24};

base::Failure refuse_option(std::string_view option, std::string_view cause) {
  return fail(Code::invalid_input, std::string(kPluginInvalid),
              fmt::format("cannot use the plugin's option '{}': {}", option, cause));
}

Result<std::string> text_of(std::string_view option, const Json& value) {
  if (!value.is_string()) return refuse_option(option, fmt::format("a string is expected, not {}", json_kind(value)));
  const std::string& text = value.get_ref<const std::string&>();
  if (text.empty()) return refuse_option(option, "it is empty");
  if (text.size() > kMaxText) return refuse_option(option, fmt::format("it is longer than {} bytes", kMaxText));
  if (text.find('\0') != std::string::npos) return refuse_option(option, "it holds a NUL");
  return text;
}

// One line, and nothing that a reader would take for an option.
Result<std::string> line_of(std::string_view option, const Json& value) {
  CR_ASSIGN(std::string text, text_of(option, value));
  const bool control = std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (control) return refuse_option(option, "it holds a control character");
  if (text.front() == '-') return refuse_option(option, "it starts with '-'");
  return text;
}

Result<std::vector<std::string>> list_of(std::string_view option, const Json& value) {
  std::vector<std::string> list;
  if (value.is_string()) {
    CR_ASSIGN(list.emplace_back(), text_of(option, value));
    return list;
  }
  if (!value.is_array())
    return refuse_option(option, fmt::format("a list of strings is expected, not {}", json_kind(value)));
  if (value.size() > kMaxListItems)
    return refuse_option(option, fmt::format("it has more than {} items", kMaxListItems));
  for (std::size_t i = 0; i < value.size(); ++i) {
    CR_ASSIGN(list.emplace_back(), text_of(fmt::format("{}[{}]", option, i), value[i]));
  }
  return list;
}

Result<bool> flag_of(std::string_view option, const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value == "true") return true;
  if (value == "false") return false;
  return refuse_option(option, fmt::format("true or false is expected, not {}", json_kind(value)));
}

// A number, or a string for the parser of that unit.
Result<std::string> number_text_of(std::string_view option, const Json& value) {
  if (value.is_number_unsigned()) return std::to_string(value.get<std::uint64_t>());
  if (value.is_string()) return line_of(option, value);
  return refuse_option(option, fmt::format("a whole number is expected, not {}", json_kind(value)));
}

Result<void> set_image(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(options.image, line_of(name, value));
  return {};
}

Result<void> set_policy(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(const std::string path, line_of(name, value));
  if (path.front() == '/' || path.front() == '~' || fmt::format("/{}/", path).find("/../") != std::string::npos)
    return refuse_option(name, "it is to be a path inside the checkout");
  options.policy = path;
  return {};
}

Result<void> set_workdir(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(const std::string path, line_of(name, value));
  if (path.front() != '/' || path == "/" || fmt::format("{}/", path).find("/../") != std::string::npos)
    return refuse_option(name, "it is to be an absolute path without '..', below '/'");
  options.workdir = path;
  return {};
}

Result<void> set_environment(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(const auto list, list_of(name, value));
  for (const std::string& item : list) {
    CR_ASSIGN(options.environment.emplace_back(), parse_environment_request(item));
  }
  return {};
}

Result<void> set_propagate(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(options.propagate_environment, flag_of(name, value));
  return {};
}

Result<void> set_outputs(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(options.outputs, list_of(name, value));
  return {};
}

Result<void> set_command(PluginOptions& options, std::string_view name, const Json& value) {
  // A string would be one word here and a shell line to its author.
  if (!value.is_array() || value.empty())
    return refuse_option(name, "a list of words is expected, as in [\"make\", \"test\"]");
  CR_ASSIGN(options.command, list_of(name, value));
  return {};
}

Result<void> set_shell(PluginOptions& options, std::string_view name, const Json& value) {
  if (value.is_string()) {
    CR_ASSIGN(const std::string text, text_of(name, value));
    CR_ASSIGN(options.shell, split_shell_words(text));
  } else {
    CR_ASSIGN(options.shell, list_of(name, value));
  }
  if (options.shell.empty()) return refuse_option(name, "it is empty");
  return {};
}

Result<void> set_vcpus(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(const std::string text, number_text_of(name, value));
  const auto number = parse_digits(text);
  if (!number || *number < 1 || *number > kMaxVcpus)
    return refuse_option(name, fmt::format("a whole number from 1 to {} is expected", kMaxVcpus));
  options.vcpus = static_cast<std::uint32_t>(*number);
  return {};
}

Result<void> set_memory(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(const std::string text, number_text_of(name, value));
  auto memory = parse_memory_mib(text);
  if (!memory) return refuse_option(name, memory.error().message);
  options.memory_mib = *memory;
  return {};
}

Result<void> set_timeout(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(const std::string text, number_text_of(name, value));
  auto timeout = parse_job_timeout(text);
  if (!timeout) return refuse_option(name, timeout.error().message);
  options.timeout = *timeout;
  return {};
}

Result<void> set_keep(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(options.keep_on_failure, flag_of(name, value));
  return {};
}

Result<void> set_debug(PluginOptions& options, std::string_view name, const Json& value) {
  CR_ASSIGN(options.debug, flag_of(name, value));
  return {};
}

struct Option {
  std::string_view name;
  std::string_view synonym;  // docker's plugin spells it so; may be empty
  Result<void> (*set)(PluginOptions&, std::string_view, const Json&);
};
constexpr Option kOptions[] = {
    {"command", "", set_command},       {"debug", "", set_debug},          {"environment", "env", set_environment},
    {"image", "", set_image},           {"keep-on-failure", "", set_keep}, {"memory", "", set_memory},
    {"outputs", "output", set_outputs}, {"policy", "", set_policy},        {"propagate-environment", "", set_propagate},
    {"shell", "", set_shell},           {"timeout", "", set_timeout},      {"vcpus", "cpus", set_vcpus},
    {"workdir", "", set_workdir},
};

const Option* find_option(std::string_view name) {
  const auto found = std::find_if(std::begin(kOptions), std::end(kOptions), [name](const Option& option) {
    return name == option.name || (!option.synonym.empty() && name == option.synonym);
  });
  return found == std::end(kOptions) ? nullptr : found;
}

}  // namespace

const std::vector<std::string>& plugin_option_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Option& option : kOptions) {
      list.emplace_back(option.name);
      if (!option.synonym.empty()) list.emplace_back(option.synonym);
    }
    std::sort(list.begin(), list.end());
    return list;
  }();
  return names;
}

Result<PluginOptions> plugin_options_from(const Json& configuration) {
  PluginOptions options;
  if (configuration.is_null()) return options;
  if (!configuration.is_object())
    return fail(
        Code::invalid_input, std::string(kPluginInvalid),
        fmt::format("cannot read the plugin's options: a mapping is expected, not {}", json_kind(configuration)));
  std::set<std::string_view> seen;
  for (const auto& [name, value] : configuration.items()) {
    const Option* option = find_option(name);
    if (option == nullptr) {
      base::Error error(
          Code::invalid_input, std::string(kPluginInvalid),
          fmt::format("cannot use the plugin's option {}: there is no such option", base::quote_text(name)));
      const auto meant = base::did_you_mean(name, plugin_option_names());
      return fail(std::move(error).with_hint(
          meant ? fmt::format("did you mean '{}'?", *meant)
                : fmt::format("the options are: {}", fmt::join(plugin_option_names(), ", "))));
    }
    if (value.is_null()) return refuse_option(name, "it is null; give it a value, or leave it out");
    if (!seen.insert(option->name).second)
      return refuse_option(name, fmt::format("'{}' and '{}' are the same option", option->name, option->synonym));
    CR_TRY(option->set(options, name, value));
  }
  if (!options.command.empty() && !options.shell.empty())
    return refuse_option("shell", "'command' is run without a shell; remove one of them");
  return options;
}

Result<PluginOptions> parse_plugin_configuration(std::string_view json) {
  CR_ASSIGN(const Json configuration, parse_plugin_json(json, "the plugin's options"));
  return plugin_options_from(configuration);
}

Result<std::chrono::seconds> parse_job_timeout(std::string_view text) {
  using std::chrono::milliseconds;
  std::optional<milliseconds> duration;
  if (const auto seconds = parse_digits(text))
    duration = std::chrono::seconds{*seconds};
  else
    duration = parse_go_duration(text);
  if (!duration)
    return fail(Code::invalid_input, std::string(kPluginInvalid),
                fmt::format("{} is no duration; write 90s, 15m or 1h30m", base::quote_text(text)));
  if (*duration < std::chrono::seconds{1} || *duration > kMaxTimeout)
    return fail(Code::invalid_input, std::string(kPluginInvalid),
                fmt::format("{} is not between 1s and {}h", base::quote_text(text), kMaxTimeout.count()));
  return std::chrono::ceil<std::chrono::seconds>(*duration);
}

Result<std::uint64_t> parse_memory_mib(std::string_view text) {
  const std::string original = base::quote_text(text);
  std::uint64_t scale_kib = 1024;
  if (!text.empty() && (text.back() == 'b' || text.back() == 'B') && text.size() > 2) text.remove_suffix(1);
  if (!text.empty()) {
    switch (text.back()) {
      case 'k':
      case 'K':
        scale_kib = 1;
        text.remove_suffix(1);
        break;
      case 'm':
      case 'M':
        text.remove_suffix(1);
        break;
      case 'g':
      case 'G':
        scale_kib = 1024 * 1024;
        text.remove_suffix(1);
        break;
      default:
        break;
    }
  }
  const auto number = parse_digits(text);
  if (!number)
    return fail(Code::invalid_input, std::string(kPluginInvalid),
                fmt::format("{} is no amount of memory; write MiB as a number, 512m or 2g", original));
  const std::uint64_t mib = static_cast<std::uint64_t>(*number) * scale_kib / 1024;
  if (mib < kMinMemoryMib || mib > kMaxMemoryMib)
    return fail(Code::invalid_input, std::string(kPluginInvalid),
                fmt::format("{} is not between {} MiB and {} MiB", original, kMinMemoryMib, kMaxMemoryMib));
  return mib;
}

}  // namespace cleanroom::runner
