#include "src/runner/job_run.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/model/exit_code.h"
#include "src/runner/refusal_advice.h"
#include "src/runner/vmm_end.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

#include <map>

namespace cleanroom::runner {

namespace asio = base::asio;
using base::Awaitable;
using base::Code;
using base::Result;
using namespace asio::experimental::awaitable_operators;

namespace {

constexpr std::chrono::seconds kEgressEndLimit{2};
constexpr std::chrono::seconds kVmEndLimit{5};
constexpr std::chrono::seconds kStalledReaderLimit{5};

std::vector<NetworkCount> network_counts(const egress::Summary& summary) {
  std::map<std::pair<std::string, std::uint16_t>, NetworkCount> counts;
  const auto add = [&counts](const std::vector<egress::SummaryEntry>& entries, std::uint64_t NetworkCount::*which) {
    for (const auto& entry : entries) {
      auto& count = counts[{entry.host, entry.port}];
      count.host = entry.host;
      count.port = entry.port;
      count.*which += entry.count;
      if (entry.reason != model::Reason::allowed) count.reason = model::to_string(entry.reason);
    }
  };
  add(summary.allowed, &NetworkCount::allowed);
  add(summary.denied, &NetworkCount::denied);
  std::vector<NetworkCount> list;
  list.reserve(counts.size());
  for (auto& [key, count] : counts)
    list.push_back(std::move(count));
  return list;
}

}  // namespace

JobRun::JobRun(asio::io_context& context, base::BlockingPool& pool, JobLog& log, RunRequest request)
    : context_(context),
      pool_(pool),
      log_(log),
      request_(std::move(request)),
      cancellation_(context.get_executor(), request_.cancel) {}

JobRun::~JobRun() = default;

Awaitable<int> JobRun::run() {
  record_.started = base::format_utc_now();
  asio::co_spawn(context_, cancellation_.watch(), asio::detached);
  for (const auto& note : request_.notes) {
    if (note.level == Note::Level::warning || request_.debug) log_.warning(note.text);
  }
  if (auto outcome = co_await guarded_phases(); !outcome) {
    const bool lost = outcome.error().reason == "agent_lost" && machine_ && machine_->vm;
    if (lost) co_await add_vmm_end(*machine_->vm, outcome.error());
    record_failure(outcome.error());
  }
  co_await teardown_phase();
  co_await end_publication();
  co_await end_audit_sink();
  co_await write_recording();
  write_record();
  directory_.reset();
  co_await (log_.finish() || stalled_reader_limit());
  cancellation_.stop();
  co_return record_.exit_code;
}

// Asio and the standard library throw where a system call or an allocation fails: that is a failed run, never a lost
// one.
Awaitable<Result<void>> JobRun::guarded_phases() {
  try {
    co_return co_await run_phases();
  } catch (const std::exception& error) {
    co_return base::fail(Code::internal, "internal_error", fmt::format("cannot go on: {}", error.what()));
  }
}

Awaitable<Result<void>> JobRun::run_phases() {
  log_.setup_heading("Preparing the cleanroom");
  CR_CO_ASSIGN(paths_, HostPaths::find());
  CR_CO_ASSIGN(auto directory, RunDirectory::create(paths_.state));
  directory_.emplace(std::move(directory));
  record_.run_id = directory_->id();
  CR_CO_TRY(admit_phase());
  CR_CO_TRY(co_await prepare_phase());
  CR_CO_TRY(co_await launch_phase());
  auto ended = co_await command_phase();
  // A job that failed, or was cancelled, may have left the very files that say why.
  if (command_ran_) co_await outputs_phase();
  if (ended && cancellation_.requested()) co_return base::fail(Code::cancelled, "cancelled", "the job was cancelled");
  co_return ended;
}

// How long the end of a run waits for a reader of our output that takes nothing: as long as a job that ended by itself
// has nobody who wants it gone, else seconds.
Awaitable<void> JobRun::stalled_reader_limit() {
  if (timed_out_) {
    co_await base::sleep_until(base::deadline_in(kStalledReaderLimit));
    co_return;
  }
  co_await cancellation_.wait_requested();
  co_await base::sleep_until(cancellation_.exit_by());
}

Awaitable<void> JobRun::teardown_phase() {
  if (!machine_) co_return;
  const auto begun = base::SteadyClock::now();
  // Nothing of the guest is needed any more: no need to let it end in good order. The scratch disk goes with it.
  if (machine_->vm) machine_->vm->kill();
  if (machine_->egress) co_await end_egress();
  machine_->session.reset();
  if (machine_->vm) (void)co_await wait_for_vmm_end(*machine_->vm, base::deadline_in(kVmEndLimit));
  // A credential that is held keeps a timer in the loop, and has no business beyond the job.
  if (machine_->egress_ended->over) machine_->gateway.reset();
  record_.timer.record_since("teardown", begun);
}

// The server's coroutines use the resolver and the audit log: they end first.
Awaitable<void> JobRun::end_egress() {
  machine_->egress->close();
  const auto ended = machine_->egress_ended;
  const auto deadline = base::deadline_in(kEgressEndLimit);
  while (!ended->over && base::SteadyClock::now() < deadline)
    co_await ended->changed.wait_until(deadline);
  const auto summary = machine_->egress->summary();
  record_.network = network_counts(summary);
  record_.audit_lost = summary.audit_lost;
  refusal_advice_ = refusal_advice(summary, admission_->limits);
  if (summary.audit_lost > 0) log_.warning(fmt::format("{} audit events could not be written", summary.audit_lost));
}

void JobRun::record_failure(const base::Error& error) {
  record_.message = error.describe();
  record_.reason = error.reason.empty() ? "internal_error" : error.reason;
  if (error.code == Code::cancelled) {
    record_.outcome = Outcome::cancelled;
    // The job's own status may stand there already; success it cannot be.
    record_.exit_code = record_.job_status.value_or(0) != 0 ? record_.exit_code : 128 + cancellation_.signal();
    log_.line(error.describe());
    return;
  }
  if (timed_out_) {
    record_.outcome = Outcome::time_limit;
    record_.exit_code = static_cast<int>(model::ExitCode::time_limit);
    log_.error(error);
    return;
  }
  const auto code = model::exit_code_of(error);
  record_.outcome = code == model::ExitCode::configuration ? Outcome::refused : Outcome::infrastructure;
  record_.exit_code = static_cast<int>(code);
  log_.error(error);
}

void JobRun::write_record() {
  const std::string json = to_json(record_);
  if (directory_) {
    if (request_.keep_on_failure && record_.outcome != Outcome::succeeded && machine_) {
      directory_->keep_work();
      log_.line(fmt::format("kept for a look: {}", directory_->path().native()));
    }
    const auto written = base::write_file_atomically(directory_->path() / "run.json", json);
    if (!written) log_.warning(written.error().describe());
  }
  if (request_.result_file) {
    const auto written = base::publish_file(*request_.result_file, json, 0644);
    if (!written) log_.warning(written.error().describe());
  }
  if (!machine_) return;
  log_.setup_heading("Cleanroom summary");
  for (const auto& line : summary_lines(record_))
    log_.line(line);
  for (const auto& line : refusal_advice_)
    log_.line(line);
  for (const auto& line : git_advice(refused_repositories_))
    log_.line(line);
}

}  // namespace cleanroom::runner
