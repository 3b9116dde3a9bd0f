// cleanroom policy validate|explain|hash|schema: reads the one file it is given. No network, no program, no ${ENV}.
#include "src/base/text/json.h"
#include "src/cli/command.h"
#include "src/cli/suggest_command.h"
#include "src/policy/load.h"
#include "src/policy/policy_schema.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <memory>
#include <optional>

namespace cleanroom::cli {
namespace {

using base::Json;

constexpr int kDenied = 1;

struct PolicyOptions {
  std::string file;  // empty: look in the working directory
  std::string target;
  bool json = false;
};

base::Result<policy::LoadedPolicy> load(const PolicyOptions& options, base::Diagnostics& diagnostics) {
  return options.file.empty() ? policy::load_policy_from_checkout(".", &diagnostics)
                              : policy::load_policy_file(options.file, &diagnostics);
}

base::Diagnostics make_diagnostics(const PolicyOptions& options) {
  return {options.file.empty() ? "cleanroom.yaml" : options.file, "policy_invalid"};
}

Json policy_json(const base::Diagnostics& diagnostics) {
  Json list = Json::array();
  for (const auto& item : diagnostics.sorted()) {
    list.push_back({{"severity", item.severity == base::Severity::error ? "error" : "warning"},
                    {"file", diagnostics.file()},
                    {"line", item.position.line},
                    {"column", item.position.column},
                    {"key", item.key_path},
                    {"message", item.message},
                    {"reason", item.reason}});
  }
  return list;
}

Json policy_json(const base::Error& error) {
  return {{"code", base::to_string(error.code)},
          {"reason", error.reason},
          {"message", error.describe()},
          {"hint", error.hint}};
}

// The failure of any of the commands: on stderr for people, on stdout for machines.
int refuse(const PolicyOptions& options, const base::Error& error, const base::Diagnostics& diagnostics) {
  if (!options.json) return report_failure(error);
  print_json({{"valid", false}, {"error", policy_json(error)}, {"diagnostics", policy_json(diagnostics)}});
  return static_cast<int>(model::exit_code_of(error));
}

void print_warnings(const base::Diagnostics& diagnostics) {
  for (const auto& line : diagnostics.lines())
    fmt::print(stderr, "{}\n", line);
}

Json unenforced_json(const policy::CompiledPolicy& compiled) {
  Json list = Json::array();
  for (const auto& feature : policy::features_not_enforced(compiled)) {
    list.push_back(
        {{"key", feature.key_path}, {"reason", model::to_string(feature.reason)}, {"message", feature.message}});
  }
  return list;
}

int run_validate(const PolicyOptions& options) {
  auto diagnostics = make_diagnostics(options);
  const auto loaded = load(options, diagnostics);
  if (!loaded) return refuse(options, loaded.error(), diagnostics);
  if (options.json) {
    print_json({{"valid", true},
                {"file", loaded->file.string()},
                {"policy_hash", loaded->policy.hash().to_string()},
                {"policy", Json::parse(loaded->policy.canonical_json())},
                {"not_enforced", unenforced_json(loaded->policy)},
                {"diagnostics", policy_json(diagnostics)}});
    return 0;
  }
  print_warnings(diagnostics);
  fmt::print("{}: valid ({})\n", loaded->file.string(), loaded->policy.hash().to_string());
  for (const auto& feature : policy::features_not_enforced(loaded->policy)) {
    fmt::print("{}: {}: {}; a launch refuses it ({})\n", loaded->file.string(), feature.key_path, feature.message,
               model::to_string(feature.reason));
  }
  return 0;
}

int run_hash(const PolicyOptions& options) {
  auto diagnostics = make_diagnostics(options);
  const auto loaded = load(options, diagnostics);
  if (!loaded) return refuse(options, loaded.error(), diagnostics);
  if (options.json) {
    print_json({{"file", loaded->file.string()}, {"policy_hash", loaded->policy.hash().to_string()}});
  } else {
    print_warnings(diagnostics);
    fmt::print("{}\n", loaded->policy.hash().to_string());
  }
  return 0;
}

struct Target {
  model::HostName host;
  std::uint16_t port = 443;
};

// HOST, HOST:PORT, [V6]:PORT, or an IPv6 address alone.
base::Result<Target> parse_target(std::string_view text) {
  std::string_view host = text;
  std::string_view port;
  bool with_port = false;
  const std::size_t colon = text.rfind(':');
  if (!text.empty() && text.front() == '[') {
    const std::size_t end = text.find(']');
    if (end != std::string_view::npos) {
      host = text.substr(1, end - 1);
      with_port = end + 1 < text.size();
      if (with_port && text[end + 1] != ':') {
        return base::fail(base::Code::invalid_input, "invalid_host",
                          fmt::format("cannot use {}: expected ':' after ']'", base::quote_text(text)));
      }
      if (with_port) port = text.substr(end + 2);
    }
  } else if (colon != std::string_view::npos && text.find(':') == colon) {
    with_port = true;
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  unsigned number = 443;
  if (with_port) {
    const auto parsed = std::from_chars(port.data(), port.data() + port.size(), number);
    const bool whole = parsed.ec == std::errc() && parsed.ptr == port.data() + port.size();
    if (!whole || number < 1 || number > 65535 || port.front() == '0') {
      return base::fail(base::Code::invalid_input, "invalid_host",
                        fmt::format("cannot use port {}: expected 1 to 65535", base::quote_text(port)));
    }
  }
  CR_ASSIGN(auto name, model::HostName::parse(host));
  return Target{std::move(name), static_cast<std::uint16_t>(number)};
}

std::string why(const policy::Verdict& verdict) {
  if (!verdict.rule.empty()) return (verdict.allowed ? "by " : " by ") + verdict.rule;
  if (verdict.reason == model::Reason::port_not_allowed) return ": its rules do not include this port";
  if (verdict.reason == model::Reason::ip_denied)
    return ": the address is special (" + verdict.detail + ") and no rule names it";
  return ": no rule names it";
}

// What the rule that decides says of itself.
std::string rule_comment(const policy::NetworkRules& rules, const std::string& key_path) {
  for (const auto* list : {&rules.allow(), &rules.deny()}) {
    for (const auto& rule : *list) {
      if (rule.key_path == key_path) return rule.reason;
    }
  }
  return {};
}

int run_explain(const PolicyOptions& options) {
  auto diagnostics = make_diagnostics(options);
  const auto target = parse_target(options.target);
  if (!target) {
    if (options.json) print_json({{"error", policy_json(target.error())}});
    print_error(target.error());
    return static_cast<int>(model::ExitCode::usage);
  }
  const auto loaded = load(options, diagnostics);
  if (!loaded) return refuse(options, loaded.error(), diagnostics);
  const auto& rules = loaded->policy.network();
  const auto verdict = rules.judge(target->host, target->port);
  const std::string comment = rule_comment(rules, verdict.rule);
  if (options.json) {
    Json out = {{"host", target->host.text()},   {"port", target->port},
                {"allowed", verdict.allowed},    {"reason", model::to_string(verdict.reason)},
                {"rule", verdict.rule},          {"rule_reason", comment},
                {"file", loaded->file.string()}, {"policy_hash", loaded->policy.hash().to_string()}};
    if (verdict.allowed && target->port == 443) out["tls"] = policy::to_string(verdict.tls);
    if (verdict.allowed && target->port == 80) out["http"] = policy::to_string(verdict.http);
    print_json(out);
  } else {
    print_warnings(diagnostics);
    fmt::print("{}: {}{}{}\n", target->host.with_port(target->port), verdict.allowed ? "allowed " : "denied",
               why(verdict), comment.empty() ? "" : " (" + comment + ")");
    if (!verdict.allowed) fmt::print("reason: {}\n", model::to_string(verdict.reason));
  }
  return verdict.allowed ? 0 : kDenied;
}

CLI::App* add_policy_leaf(CLI::App& parent, const char* name, const char* help, int& exit_code,
                          int (*run)(const PolicyOptions&)) {
  auto options = std::make_shared<PolicyOptions>();
  CLI::App* leaf = parent.add_subcommand(name, help);
  leaf->add_option("--policy", options->file, "Policy file; default: cleanroom.yaml, then .buildkite/cleanroom.yaml")
      ->type_name("FILE");
  leaf->add_flag("--json", options->json, "Print JSON");
  if (std::string_view(name) == "explain") {
    leaf->add_option("target", options->target, "Host, and port (default 443)")->required()->type_name("HOST[:PORT]");
  }
  leaf->callback([options, &exit_code, run] { exit_code = run(*options); });
  return leaf;
}

}  // namespace

void add_policy_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("policy", "Check, explain and hash a cleanroom.yaml; runs nothing");
  command->require_subcommand(1);
  add_policy_leaf(*command, "validate", "Report everything that is wrong with a policy (exit 0 or 78)", exit_code,
                  run_validate);
  add_policy_leaf(*command, "explain",
                  "Say which rule decides about a host (exit 0 allowed, 1 denied, 78 policy invalid)", exit_code,
                  run_explain);
  add_policy_leaf(*command, "hash", "Print the policy_hash that run records carry", exit_code, run_hash);
  add_suggest_command(*command, exit_code);
  CLI::App* schema = command->add_subcommand("schema", "Print the JSON Schema of cleanroom.yaml, for editors");
  schema->callback([&exit_code] {
    print_json(base::to_json_schema(policy::policy_schema(), "cleanroom.yaml"));
    exit_code = 0;
  });
}

}  // namespace cleanroom::cli
