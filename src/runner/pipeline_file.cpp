#include "src/runner/pipeline_file.h"

#include "src/base/os/io.h"
#include "src/base/text/diagnostic.h"
#include "src/base/text/did_you_mean.h"
#include "src/base/text/lenient_yaml.h"
#include "src/runner/go_duration.h"
#include "src/runner/pipeline_interpolation.h"
#include "src/runner/plugin_json.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::fail;
using base::Result;
using base::YamlNode;
using Kind = YamlNode::Kind;
using Json = nlohmann::json;

constexpr std::string_view kPipelineInvalid = "pipeline_invalid";
constexpr std::string_view kPluginName = "cleanroom";
constexpr std::size_t kMaxSteps = 5000;
constexpr std::string_view kFileNames[] = {".buildkite/pipeline.yml",  ".buildkite/pipeline.yaml",
                                           ".buildkite/pipeline.json", "buildkite.yml",
                                           "buildkite.yaml",           "buildkite.json"};

// One file being read: where it is, for messages, and what variables are expanded from.
class Pipeline {
 public:
  Pipeline(std::string file, const Environment& environment) : file_(std::move(file)), environment_(environment) {}

  Result<PipelineStep> step(const YamlNode& root, std::string_view key) {
    const YamlNode* steps = &root;
    if (root.kind == Kind::mapping) {
      CR_TRY(read_environment(root.find("env"), pipeline_environment_, Overlay::onto_interpolation));
      steps = root.find("steps");
    }
    if (steps == nullptr || steps->kind != Kind::sequence) return refuse(root, "it has no list of `steps`");
    CR_TRY(collect(*steps));
    for (const auto& [found, node] : steps_) {
      if (found == key) return read_step(*node, found);
    }
    return unknown(key);
  }

 private:
  enum class Overlay { onto_interpolation, job_only };

  base::Failure refuse(const YamlNode& node, std::string_view cause) const {
    return fail(Code::invalid_input, std::string(kPipelineInvalid),
                fmt::format("cannot use the pipeline '{}': line {}: {}", file_, node.position.line, cause));
  }

  base::Failure unknown(std::string_view key) const {
    std::vector<std::string> keys;
    for (const auto& [found, node] : steps_)
      keys.push_back(found);
    base::Error error(Code::not_found, std::string(kPipelineInvalid),
                      fmt::format("cannot find step {} in '{}'", base::quote_text(key), file_));
    if (keys.empty()) return fail(std::move(error).with_hint("no command step of this file has a `key`"));
    const auto meant = base::did_you_mean(key, keys);
    return fail(std::move(error).with_hint(fmt::format(
        "{}the keys are: {}", meant ? fmt::format("did you mean '{}'? ", *meant) : "", fmt::join(keys, ", "))));
  }

  Result<std::string> text(const YamlNode& node, std::string_view what) const {
    if (node.kind == Kind::null) return std::string();
    if (node.kind != Kind::scalar) return refuse(node, fmt::format("{} is to be text", what));
    auto expanded = interpolate(node.text, environment_);
    if (!expanded) return refuse(node, expanded.error().message);
    return expanded;
  }

  // A text, or a list of them.
  Result<std::vector<std::string>> texts(const YamlNode& node, std::string_view what) const {
    std::vector<std::string> list;
    if (node.kind == Kind::null) return list;
    if (node.kind != Kind::sequence) {
      CR_ASSIGN(list.emplace_back(), text(node, what));
      return list;
    }
    for (const YamlNode& item : node.items) {
      CR_ASSIGN(list.emplace_back(), text(item, what));
    }
    return list;
  }

  Result<void> read_environment(const YamlNode* node, Environment& into, Overlay overlay) {
    if (node == nullptr || node->kind == Kind::null) return {};
    if (node->kind != Kind::mapping) return refuse(*node, "`env` is to be a mapping");
    for (const base::YamlEntry& entry : node->entries) {
      CR_ASSIGN(const std::string value, text(entry.value, fmt::format("the value of '{}'", entry.key)));
      into.insert_or_assign(entry.key, value);
      if (overlay == Overlay::onto_interpolation) environment_.insert_or_assign(entry.key, value);
    }
    return {};
  }

  // Command steps with a key, those in groups too.
  Result<void> collect(const YamlNode& steps) {
    for (const YamlNode& node : steps.items) {
      if (node.kind != Kind::mapping) continue;  // "wait", "block"
      if (node.find("group") != nullptr) {
        const YamlNode* inner = node.find("steps");
        if (inner != nullptr && inner->kind == Kind::sequence) CR_TRY(collect(*inner));
        continue;
      }
      CR_ASSIGN(const std::string key, first_text(node, {"key", "id", "identifier"}));
      if (key.empty()) continue;
      if (steps_.size() >= kMaxSteps) return refuse(node, fmt::format("more than {} steps", kMaxSteps));
      for (const auto& [known, other] : steps_) {
        if (known == key) return refuse(node, fmt::format("the key '{}' is there twice", key));
      }
      steps_.emplace_back(key, &node);
    }
    return {};
  }

  Result<std::string> first_text(const YamlNode& node, std::initializer_list<std::string_view> names) const {
    for (const std::string_view name : names) {
      if (const YamlNode* value = node.find(name)) return text(*value, fmt::format("`{}`", name));
    }
    return std::string();
  }

  Result<PipelineStep> read_step(const YamlNode& node, const std::string& key) {
    for (const std::string_view kind : {"wait", "waiter", "block", "input", "trigger"}) {
      if (node.find(kind) != nullptr)
        return refuse(node, fmt::format("step '{}' is a {} step; only command steps run here", key, kind));
    }
    if (node.find("matrix") != nullptr)
      return refuse(node, fmt::format("step '{}' has a matrix; that is not supported here", key));
    PipelineStep step;
    step.key = key;
    CR_ASSIGN(step.label, first_text(node, {"label", "name"}));
    CR_TRY(read_command(node, step));
    step.environment = pipeline_environment_;
    CR_TRY(read_environment(node.find("env"), step.environment, Overlay::job_only));
    CR_TRY(read_timeout(node, step));
    if (const YamlNode* paths = node.find("artifact_paths")) {
      CR_ASSIGN(step.artifact_paths, texts(*paths, "`artifact_paths`"));
    }
    if (const YamlNode* plugins = node.find("plugins")) CR_TRY(read_plugins(*plugins, step));
    if (node.find("secrets") != nullptr) warn(step, "the step's `secrets` are not here: the agent has them");
    if (node.find("parallelism") != nullptr) warn(step, "the step's `parallelism` is passed over: it runs once");
    return step;
  }

  static void warn(PipelineStep& step, std::string text) {
    step.notes.push_back({Note::Level::warning, std::move(text)});
  }

  Result<void> read_command(const YamlNode& node, PipelineStep& step) const {
    const YamlNode* one = node.find("command");
    const YamlNode* many = node.find("commands");
    if (one != nullptr && many != nullptr) return refuse(node, "a step has `command` or `commands`, not both");
    if (const YamlNode* command = one != nullptr ? one : many) {
      CR_ASSIGN(const auto lines, texts(*command, "`command`"));
      step.command = fmt::format("{}", fmt::join(lines, "\n"));
    }
    return {};
  }

  Result<void> read_timeout(const YamlNode& node, PipelineStep& step) const {
    const YamlNode* timeout = node.find("timeout_in_minutes");
    if (timeout == nullptr || timeout->kind == Kind::null) return {};
    CR_ASSIGN(const std::string minutes, text(*timeout, "`timeout_in_minutes`"));
    const auto number = parse_digits(minutes);
    if (!number || *number < 1 || *number > 24 * 60 * 7)
      return refuse(*timeout, "`timeout_in_minutes` is to be a whole number of minutes");
    step.timeout = std::chrono::minutes{*number};
    return {};
  }

  // A list of names and of mappings name -> options; or, deprecated, one mapping.
  Result<void> read_plugins(const YamlNode& plugins, PipelineStep& step) {
    if (plugins.kind == Kind::null) return {};
    if (plugins.kind == Kind::mapping) return read_plugin_entries(plugins, step);
    if (plugins.kind != Kind::sequence) return refuse(plugins, "`plugins` is to be a list");
    for (const YamlNode& item : plugins.items) {
      if (item.kind == Kind::mapping) {
        CR_TRY(read_plugin_entries(item, step));
      } else {
        CR_ASSIGN(const std::string source, text(item, "a plugin"));
        CR_TRY(read_plugin(source, YamlNode{}, step));
      }
    }
    return {};
  }

  Result<void> read_plugin_entries(const YamlNode& mapping, PipelineStep& step) {
    for (const base::YamlEntry& entry : mapping.entries) {
      auto source = interpolate(entry.key, environment_);
      if (!source) return refuse(mapping, source.error().message);
      CR_TRY(read_plugin(*source, entry.value, step));
    }
    return {};
  }

  Result<void> read_plugin(const std::string& source, const YamlNode& configuration, PipelineStep& step) {
    const std::string name = plugin_name_of(source);
    if (name != kPluginName) {
      warn(step, fmt::format("plugin {} of this step does not run here; in CI it runs on the host",
                             base::quote_text(source)));
      return {};
    }
    if (!step.plugin_source.empty()) return refuse(configuration, "the plugin is in the step twice");
    step.plugin_source = source;
    CR_ASSIGN(const Json json, to_json(configuration));
    auto options = plugin_options_from(json);
    if (!options) return fail(std::move(options).error().with_context(fmt::format("'{}', step '{}'", file_, step.key)));
    step.options = std::move(*options);
    return {};
  }

  // What `pipeline upload` makes of a plain scalar: true and false, whole numbers, else text.
  Result<Json> to_json(const YamlNode& node) const {
    switch (node.kind) {
      case Kind::null:
        return Json(nullptr);
      case Kind::scalar: {
        CR_ASSIGN(std::string value, text(node, "an option"));
        if (node.quoted) return Json(std::move(value));
        if (value == "true" || value == "false") return Json(value == "true");
        if (base::classify_plain_scalar(node.text) == base::PlainScalar::integer) {
          std::uint64_t number = 0;
          const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
          if (error == std::errc{} && end == value.data() + value.size()) return Json(number);
        }
        return Json(std::move(value));
      }
      case Kind::sequence: {
        Json list = Json::array();
        for (const YamlNode& item : node.items) {
          CR_ASSIGN(Json value, to_json(item));
          list.push_back(std::move(value));
        }
        return list;
      }
      case Kind::mapping: {
        Json mapping = Json::object();
        for (const base::YamlEntry& entry : node.entries) {
          CR_ASSIGN(mapping[entry.key], to_json(entry.value));
        }
        return mapping;
      }
    }
    return Json(nullptr);
  }

  std::string file_;
  Environment environment_;  // for interpolation
  Environment pipeline_environment_;
  std::vector<std::pair<std::string, const YamlNode*>> steps_;
};

}  // namespace

Result<std::filesystem::path> find_pipeline_file(const std::filesystem::path& checkout) {
  for (const std::string_view name : kFileNames) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(checkout / name, ignored)) return checkout / name;
  }
  return fail(base::Error(Code::not_found, std::string(kPipelineInvalid),
                          fmt::format("cannot find a pipeline file in '{}'", checkout.string()))
                  .with_hint(fmt::format("looked for: {}", fmt::join(kFileNames, ", "))));
}

Result<PipelineStep> read_pipeline_step(const std::filesystem::path& file, std::string_view key,
                                        const Environment& environment) {
  CR_ASSIGN(const std::string text, base::read_file(file, kMaxPipelineBytes));
  return parse_pipeline_step(text, file.string(), key, environment);
}

Result<PipelineStep> parse_pipeline_step(std::string_view text, const std::string& file_name, std::string_view key,
                                         const Environment& environment) {
  base::Diagnostics diagnostics(file_name, std::string(kPipelineInvalid));
  const auto root = base::parse_lenient_yaml(text, diagnostics,
                                             {.max_bytes = kMaxPipelineBytes, .max_depth = 64, .max_nodes = 50'000});
  if (!root || diagnostics.has_errors()) {
    const auto lines = diagnostics.lines();
    return fail(Code::invalid_input, std::string(kPipelineInvalid),
                fmt::format("cannot read the pipeline: {}", lines.empty() ? file_name : lines.front()));
  }
  return Pipeline(file_name, environment).step(*root, key);
}

}  // namespace cleanroom::runner
