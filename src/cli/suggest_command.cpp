// cleanroom policy suggest: the smallest rules for what a run asked of the network, from its audit log.
#include "src/cli/suggest_command.h"

#include "src/base/text/json.h"
#include "src/cli/command.h"
#include "src/policy/audit_reader.h"
#include "src/policy/operator_config.h"
#include "src/runner/host_paths.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>

namespace cleanroom::cli {
namespace {

using base::Code;
using base::Json;
using base::Result;

struct SuggestOptions {
  std::string run = "latest";
  std::string audit;  // empty: of the run
  bool json = false;
};

// As new_run_id() makes them; never a path.
bool is_run_id(const std::string& text) {
  return !text.empty() && text.size() <= 64 && text.find_first_not_of("0123456789abcdef-") == std::string::npos;
}

Result<std::filesystem::path> audit_of_run(const std::string& run) {
  CR_ASSIGN(const auto paths, runner::HostPaths::find());
  const auto runs = paths.state / "runs";
  if (run != "latest") {
    if (!is_run_id(run)) {
      return base::fail(
          base::Error(Code::invalid_input, kUsage, fmt::format("cannot use {} as a run", base::quote_text(run)))
              .with_hint("a run id stands in the job log and in run.json; or say latest"));
    }
    return runs / run / "audit.jsonl";
  }
  std::string newest;
  std::error_code ec;
  for (std::filesystem::directory_iterator entry(runs, ec), end; !ec && entry != end; entry.increment(ec)) {
    const auto name = entry->path().filename().native();
    std::error_code ignored;
    if (is_run_id(name) && std::filesystem::exists(entry->path() / "audit.jsonl", ignored))
      newest = std::max(newest, name);
  }
  if (newest.empty()) {
    return base::fail(Code::not_found, fmt::format("cannot find a run: none in '{}' has an audit log", runs.native()));
  }
  return runs / newest / "audit.jsonl";
}

Json to_json(const policy::Suggestion& suggestion) {
  Json allow = Json::array();
  for (const auto& rule : suggestion.rules) {
    Json entry = {{"host", rule.host}, {"count", rule.count}, {"notes", rule.notes}};
    if (!rule.ports.empty()) entry["ports"] = rule.ports;
    if (rule.tls == policy::TlsMode::opaque) entry["tls"] = "opaque";
    allow.push_back(std::move(entry));
  }
  Json refused = Json::array();
  for (const auto& item : suggestion.not_suggested) {
    refused.push_back({{"host", item.host},
                       {"port", item.port},
                       {"reason", model::to_string(item.reason)},
                       {"count", item.count},
                       {"why", item.why}});
  }
  return {{"allow", std::move(allow)},
          {"not_suggested", std::move(refused)},
          {"connections", suggestion.connections},
          {"served", suggestion.served},
          {"not_listed", suggestion.not_listed}};
}

Result<void> suggest(const SuggestOptions& options) {
  std::filesystem::path audit = options.audit;
  if (audit.empty()) {
    CR_ASSIGN(audit, audit_of_run(options.run));
  }
  CR_ASSIGN(const auto ceiling, policy::load_ceiling(policy::OperatorPaths::from_environment()));
  CR_ASSIGN(const auto reading, policy::read_audit(audit));
  const auto suggestion = policy::suggest(reading.observations, &ceiling.limits_for(""));
  const auto invalid = reading.observations.invalid();
  if (options.json) {
    auto out = to_json(suggestion);
    out["audit"] = audit.native();
    out["complete"] = reading.lost == 0 && !reading.cut && invalid == 0 && suggestion.not_listed == 0;
    print_json(out);
    return {};
  }
  std::vector<std::string> title{
      "For what this run was refused, or was recorded to need. Look at each host before you keep it."};
  if (reading.lost > 0) title.push_back(fmt::format("INCOMPLETE: the log itself lacks {} events.", reading.lost));
  if (reading.cut)
    title.push_back(fmt::format("INCOMPLETE: only the first {} MB were read.", policy::kMaxAuditRead >> 20u));
  if (invalid > 0) title.push_back(fmt::format("INCOMPLETE: {} lines are no audit lines.", invalid));
  fmt::print("{}", policy::to_policy_yaml(suggestion, title));
  return {};
}

}  // namespace

void add_suggest_command(CLI::App& policy, int& exit_code) {
  auto options = std::make_shared<SuggestOptions>();
  CLI::App* command =
      policy.add_subcommand("suggest", "Print the smallest policy for what a run was refused, or was recorded to need");
  auto* run = command->add_option("--run", options->run, "Run id, or latest (default)")->type_name("RUN_ID");
  command->add_option("--audit", options->audit, "An audit.jsonl instead")->type_name("FILE")->excludes(run);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &exit_code] {
    const auto done = suggest(*options);
    exit_code = done ? 0 : report_failure(done.error());
  });
}

}  // namespace cleanroom::cli
