#include "src/runner/run_record.h"

#include "src/base/text/json.h"

#include <nlohmann/json.hpp>

namespace cleanroom::runner {
namespace {

constexpr std::size_t kMaxSummaryHosts = 12;
constexpr int kRecordVersion = 1;

double rounded(double milliseconds) {
  return static_cast<double>(static_cast<std::int64_t>(milliseconds * 10)) / 10;
}

template <class T>
base::Json or_null(const std::optional<T>& value) {
  return value ? base::Json(*value) : base::Json(nullptr);
}

base::Json network_json(const std::vector<NetworkCount>& network) {
  auto list = base::Json::array();
  for (const auto& count : network) {
    list.push_back({{"host", count.host},
                    {"port", count.port},
                    {"allowed", count.allowed},
                    {"denied", count.denied},
                    {"reason", count.reason}});
  }
  return list;
}

base::Json isolation_json(const std::map<std::string, std::string>& isolation) {
  auto walls = base::Json::object();
  for (const auto& [wall, why_absent] : isolation)
    walls[wall] = why_absent.empty() ? base::Json(true) : base::Json(why_absent);
  return walls;
}

std::string hosts_line(const std::vector<NetworkCount>& network, std::uint64_t NetworkCount::*which) {
  std::string line;
  std::size_t hosts = 0;
  std::uint64_t total = 0;
  for (const auto& count : network) {
    if (count.*which == 0) continue;
    total += count.*which;
    if (++hosts > kMaxSummaryHosts) continue;
    const std::string port = count.port == 0 ? "" : fmt::format(":{}", count.port);  // 0: refused as a name already
    line += fmt::format("{}{}{} ({})", hosts > 1 ? ", " : "", count.host, port, count.*which);
  }
  if (hosts > kMaxSummaryHosts) line += fmt::format(", and {} more", hosts - kMaxSummaryHosts);
  return total == 0 ? "none" : line;
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::succeeded:
      return "succeeded";
    case Outcome::failed:
      return "failed";
    case Outcome::time_limit:
      return "time_limit";
    case Outcome::cancelled:
      return "cancelled";
    case Outcome::refused:
      return "refused";
    case Outcome::infrastructure:
      return "infrastructure";
  }
  return "infrastructure";
}

void StepTimer::finish(std::string name) {
  const auto now = base::SteadyClock::now();
  record(std::move(name), std::chrono::duration<double, std::milli>(now - last_).count());
  last_ = now;
}

double StepTimer::total_ms() const {
  return std::chrono::duration<double, std::milli>(base::SteadyClock::now() - begun_).count();
}

std::string to_json(const RunRecord& record) {
  base::Json json{{"version", kRecordVersion},
                  {"run_id", record.run_id},
                  {"started", record.started},
                  {"policy_file", record.policy_file},
                  {"policy_hash", record.policy_hash},
                  {"image_digest", record.image_digest},
                  {"image_source", record.image_source},
                  {"backend", record.backend},
                  {"accel", record.accelerator},
                  {"hardware_isolation", record.hardware_isolation},
                  {"isolation", isolation_json(record.isolation)},
                  {"kernel_version", record.kernel_version},
                  {"start", record.template_key.empty() ? "cold" : "template"},
                  {"template", record.template_key},
                  {"template_made", record.template_made},
                  {"vcpus", record.vcpus},
                  {"memory_mib", record.memory_mib},
                  {"metadata", record.metadata},
                  {"network", network_json(record.network)},
                  {"recorded", record.recorded},
                  {"audit_lost", record.audit_lost},
                  {"audit_sink_lost", or_null(record.audit_sink_lost)},
                  {"output_files", record.output_files},
                  {"output_bytes", record.output_bytes},
                  {"outputs_rejected", record.outputs_rejected},
                  {"outcome", to_string(record.outcome)},
                  {"reason", record.reason},
                  {"message", record.message},
                  {"exit_code", record.exit_code},
                  {"job_status", or_null(record.job_status)},
                  {"job_signal", or_null(record.job_signal)},
                  {"max_rss_kib", or_null(record.max_rss_kib)},
                  {"total_ms", rounded(record.timer.total_ms())}};
  for (const auto& step : record.timer.steps())
    json[step.name + "_ms"] = rounded(step.milliseconds);
  return base::canonical_json(json) + "\n";
}

std::vector<std::string> summary_lines(const RunRecord& record) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("run      {}", record.run_id));
  if (!record.image_digest.empty()) lines.push_back(fmt::format("image    {}", record.image_digest));
  if (!record.backend.empty()) {
    lines.push_back(fmt::format("backend  {}, accel {}{}, {} vCPU, {} MiB", record.backend, record.accelerator,
                                record.hardware_isolation ? "" : " (emulation: not a security boundary)", record.vcpus,
                                record.memory_mib));
  }
  if (record.recorded)
    lines.emplace_back("recorded under the operator's ceiling: the policy's network rules did not count");
  std::string steps;
  for (const auto& step : record.timer.steps()) {
    steps += fmt::format("{}{} {:.0f} ms", steps.empty() ? "" : ", ", step.name, step.milliseconds);
  }
  lines.push_back(fmt::format("steps    {}", steps));
  lines.push_back(fmt::format("allowed  {}", hosts_line(record.network, &NetworkCount::allowed)));
  lines.push_back(fmt::format("denied   {}", hosts_line(record.network, &NetworkCount::denied)));
  if (record.output_files > 0) {
    lines.push_back(fmt::format("outputs  {} files, {} bytes", record.output_files, record.output_bytes));
  }
  for (const auto& rejected : record.outputs_rejected)
    lines.push_back("refused  " + rejected);
  lines.push_back(
      fmt::format("outcome  {} ({}), exit code {}", to_string(record.outcome), record.reason, record.exit_code));
  return lines;
}

}  // namespace cleanroom::runner
