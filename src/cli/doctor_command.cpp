// cleanroom doctor: what this host has and lacks. Exit 0 when jobs can run, 1 when something is missing.
#include "src/cli/command.h"
#include "src/runner/host_check.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <memory>

namespace cleanroom::cli {
namespace {

constexpr int kMissing = 1;

void print_report(const runner::HostReport& report) {
  auto checks = nlohmann::json::array();
  for (const auto& check : report.checks) {
    checks.push_back({{"name", check.name},
                      {"state", runner::to_string(check.state)},
                      {"found", check.found},
                      {"why", check.why},
                      {"mend", check.mend}});
  }
  auto backends = nlohmann::json::array();
  for (const auto& backend : report.backends) {
    backends.push_back({{"name", backend.name},
                        {"usable", backend.usable},
                        {"why_not", backend.why_not},
                        {"accel", backend.accelerator},
                        {"hardware_isolation", backend.hardware_isolation},
                        {"templates", backend.templates}});
  }
  auto isolation = nlohmann::json::object();
  for (const auto wall : model::all_walls()) {
    const auto& why_absent = report.isolation.why_absent(wall);
    isolation[std::string(model::to_string(wall))] =
        why_absent.empty() ? nlohmann::json(true) : nlohmann::json(why_absent);
  }
  print_json(
      {{"can_run_jobs", report.can_run_jobs()}, {"checks", checks}, {"backends", backends}, {"isolation", isolation}});
}

void print_text(const runner::HostReport& report) {
  for (const auto& check : report.checks) {
    fmt::print("{:8} {:16} {}\n", runner::to_string(check.state), check.name, check.found);
    if (!check.why.empty()) fmt::print("{:25} why   {}\n", "", check.why);
    if (!check.mend.empty()) fmt::print("{:25} mend  {}\n", "", check.mend);
  }
  fmt::print("\nbackend          accel  hardware isolation  templates\n");
  for (const auto& backend : report.backends) {
    if (!backend.usable) {
      fmt::print("{:16} not usable: {}\n", backend.name, backend.why_not);
      continue;
    }
    fmt::print("{:16} {:6} {:19} {}\n", backend.name, backend.accelerator, backend.hardware_isolation ? "yes" : "no",
               backend.templates ? "yes" : "no");
  }
  fmt::print("\n{}\n",
             report.can_run_jobs() ? "jobs can run here" : "no job can run here until what is missing is mended");
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_code) {
  auto* doctor =
      app.add_subcommand("doctor", "What this host has and lacks: each prerequisite, why it matters, what mends it");
  const auto json = std::make_shared<bool>(false);
  doctor->add_flag("--json", *json, "One JSON value");
  doctor->footer("Exit codes: 0 jobs can run, 1 something is missing.");
  doctor->callback([json, &exit_code] {
    const auto report = runner::check_host();
    if (*json)
      print_report(report);
    else
      print_text(report);
    exit_code = report.can_run_jobs() ? 0 : kMissing;
  });
}

}  // namespace cleanroom::cli
