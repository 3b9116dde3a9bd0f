// What a run leaves beside its own record: the operator's second place for audit lines, and --record's policy.
#include "src/base/os/atomic_file.h"
#include "src/policy/audit_reader.h"
#include "src/runner/job_run.h"

namespace cleanroom::runner {

using base::Awaitable;
using base::Code;
using base::Result;

namespace {

constexpr std::chrono::seconds kAuditSinkLimit{2};  // for what waits when the run is over
constexpr std::chrono::seconds kRecordingLimit{60};

Result<std::string> recorded_policy(const std::filesystem::path& audit, const policy::CeilingLimits& limits,
                                    std::vector<std::string> title) {
  CR_ASSIGN(const auto reading, policy::read_audit(audit));
  if (reading.lost > 0 || reading.cut || reading.observations.invalid() > 0 || reading.observations.not_kept() > 0)
    title.emplace_back("INCOMPLETE: the audit log of the run lacks events or is too long.");
  return policy::to_policy_yaml(policy::suggest(reading.observations, &limits), title);
}

}  // namespace

void JobRun::announce_recording() {
  if (!request_.record_file) return;
  record_.recorded = true;
  log_.warning(
      fmt::format("recording: the network rules of the policy do not count; this run may reach {}, and what it "
                  "needs goes to {}",
                  admission_->limits.hosts ? "every host of the operator's ceiling" : "every public host",
                  request_.record_file->native()));
}

Result<void> JobRun::open_audit_sink() {
  const auto& config = admission_->operator_config.audit;
  if (!config) return {};
  using Kind = egress::AuditSinkOptions::Kind;
  const egress::AuditSinkOptions options{
      .kind = config->kind == policy::AuditConfig::Kind::file ? Kind::file : Kind::socket, .path = config->path};
  audit_sink_ = std::make_shared<egress::AuditSink>(options, record_.run_id);
  const auto& opened = audit_sink_->opened();
  if (opened) return {};
  if (config->required) {
    return base::fail(
        base::Error(Code::policy_denied, "config_invalid",
                    fmt::format("cannot use the audit {}: {}", audit_sink_->describe(), opened.error().describe()))
            .with_hint("the operator's config.yaml says audit.required; no job runs without it"));
  }
  log_.warning(fmt::format("the audit {} is not there yet: {}", audit_sink_->describe(), opened.error().describe()));
  return {};
}

Awaitable<void> JobRun::end_audit_sink() {
  if (!audit_sink_) co_return;
  std::function<Result<void>()> work = [sink = audit_sink_]() -> Result<void> {
    (void)sink->close(base::deadline_in(kAuditSinkLimit));
    return {};
  };
  auto closing = base::run_blocking<void>(pool_, std::move(work));
  // The pool may be held by what a cancelled run left in it.
  (void)co_await base::with_deadline<void>(base::deadline_in(kAuditSinkLimit * 2), "close the audit sink",
                                           std::move(closing));
  const auto counters = audit_sink_->counters();
  record_.audit_sink_lost = counters.events - counters.written;
  if (counters.events == counters.written) co_return;
  log_.warning(fmt::format("{} of {} audit events did not reach the {}", counters.events - counters.written,
                           counters.events, audit_sink_->describe()));
}

Awaitable<void> JobRun::write_recording() {
  if (!request_.record_file || !machine_ || !command_ran_) co_return;
  const auto audit = directory_->path() / "audit.jsonl";
  std::vector<std::string> title{
      fmt::format("What run {} needed of the network; its exit code was {}.", record_.run_id, record_.exit_code),
      "Written by cleanroom-run --record. Look at each host before you keep it."};
  std::function<Result<std::string>()> work = [audit, limits = admission_->limits, title = std::move(title)] {
    return recorded_policy(audit, limits, title);
  };
  auto reading = base::run_blocking<std::string>(pool_, std::move(work));
  auto text = co_await base::with_deadline<std::string>(base::deadline_in(kRecordingLimit), "read the audit log",
                                                        std::move(reading));
  Result<void> written;
  if (text)
    written = base::write_file_atomically(*request_.record_file, *text, 0644);
  else
    written = base::fail(std::move(text).error());
  if (written)
    log_.line(fmt::format("recorded: {}", request_.record_file->native()));
  else
    log_.warning(written.error().describe());
}

}  // namespace cleanroom::runner
