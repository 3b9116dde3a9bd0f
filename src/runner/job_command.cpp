// The job's command: start, time limit, cancellation, and what its end means.
//
//   running ──exit──────────────────────────────> judged
//      ├─ time limit: SIGTERM, kTerminateGrace ─> VM killed, judged time_limit (124)
//      └─ cancelled: the signal, hard stop ─────> VM killed, judged cancelled
#include "src/model/exit_code.h"
#include "src/runner/guest_files.h"
#include "src/runner/job_run.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>

namespace cleanroom::runner {

using base::Awaitable;
using base::Code;
using base::Result;
using namespace base::asio::experimental::awaitable_operators;

namespace {

constexpr std::chrono::seconds kTerminateGrace{10};
constexpr std::chrono::seconds kKilledLimit{5};  // the streams of a killed VM end within this
constexpr const char* kExecId = "job";
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The image's environment, the job's own over it.
std::vector<std::string> merged_environment(const std::vector<std::string>& image, const Environment& job) {
  Environment merged{{"PATH", kDefaultPath}};
  for (const auto& entry : image) {
    const auto equals = entry.find('=');
    if (equals != std::string::npos && equals > 0) merged[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  for (const auto& [name, value] : job)
    merged[name] = value;
  merged["CLEANROOM"] = "true";
  std::vector<std::string> list;
  list.reserve(merged.size());
  for (const auto& [name, value] : merged)
    list.push_back(fmt::format("{}={}", name, value));
  return list;
}

}  // namespace

// Shared with the coroutine that runs the command, which may outlive this phase when our own stdout is stalled.
struct JobRun::CommandEnd {
  explicit CommandEnd(const base::asio::any_io_executor& executor) : done(executor) {}
  static Awaitable<void> wait(std::shared_ptr<CommandEnd> end) {
    while (!end->result)
      co_await end->done.wait();
  }
  base::Event done;
  std::optional<Result<channel::Exited>> result;
};

Awaitable<Result<void>> JobRun::put_guest_files() {
  std::vector<GuestFile> files;
  if (request_.command.command_file) files.push_back(*request_.command.command_file);
  if (machine_->gateway) files.push_back(machine_->gateway->guest_file());
  if (files.empty()) co_return Result<void>{};
  CR_CO_ASSIGN(auto tar, guest_files_tar(files));
  auto copied = base::with_deadline<void>(base::deadline_in(admission_->launch_timeout), "copy files into the guest",
                                          machine_->session->put_files("/", std::move(tar)));
  auto first = co_await (std::move(copied) || cancellation_.wait_requested());
  if (first.index() == 1) co_return base::fail(Code::cancelled, "cancelled", "cancelled before the job began");
  co_return std::move(std::get<0>(first));
}

Awaitable<Result<void>> JobRun::command_phase() {
  CR_CO_TRY(co_await put_guest_files());
  log_.job_heading("$ " + request_.command.display);
  auto judged = co_await run_command();
  record_.timer.finish("command");
  co_return judged;
}

Awaitable<Result<void>> JobRun::run_command() {
  auto environment = request_.environment;
  if (machine_->gateway) machine_->gateway->add_variables(environment);
  channel::ExecRequest request{.id = kExecId,
                               .commands = request_.command.candidates,
                               .environment = merged_environment(image_->config.env, environment),
                               .working_directory = request_.workdir,
                               .user = image_->config.user};
  const auto end = std::make_shared<CommandEnd>(context_.get_executor());
  base::asio::co_spawn(context_, machine_->session->exec(std::move(request), log_),
                       [end](const std::exception_ptr& error, Result<channel::Exited> result) {
                         // A coroutine that threw gives a default result, which would read as success.
                         if (error)
                           result = base::fail(Code::internal, "internal_error", "cannot follow the job: an exception");
                         end->result.emplace(std::move(result));
                         end->done.notify_all();
                       });
  command_ran_ = true;
  co_await (CommandEnd::wait(end) || cancellation_.wait_requested() ||
            base::sleep_until(base::deadline_in(admission_->time_limit)));
  if (!end->result && cancellation_.requested()) {
    log_.line(fmt::format("cancelled by signal {}: ending the job", cancellation_.signal()));
    co_await end_command(end, cancellation_.signal(), cancellation_.hard_stop());
  } else if (!end->result) {
    timed_out_ = true;
    log_.line(fmt::format("the time limit of {} s is over: ending the job", admission_->time_limit.count()));
    co_await end_command(end, SIGTERM, base::deadline_in(kTerminateGrace));
  }
  co_return judge_command(*end);
}

Awaitable<void> JobRun::end_command(std::shared_ptr<CommandEnd> end, int signal, base::Deadline hard_stop) {
  base::asio::co_spawn(context_, machine_->session->signal(kExecId, signal, hard_stop), base::asio::detached);
  co_await (CommandEnd::wait(end) || base::sleep_until(hard_stop) || cancellation_.wait_hard_stop());
  if (end->result) co_return;
  machine_->vm->kill();
  vm_killed_ = true;
  co_await (CommandEnd::wait(end) ||
            base::sleep_until(std::min(base::deadline_in(kKilledLimit), cancellation_.exit_by())));
}

// What the guest says of the job's end counts only for a job that was neither cancelled nor out of time (I10).
Result<void> JobRun::judge_command(const CommandEnd& end) {
  const bool has_status = end.result && end.result->has_value();
  if (has_status) {
    const auto& exited = **end.result;
    record_.job_status = exited.status;
    record_.job_signal = exited.signal;
    record_.max_rss_kib = exited.max_rss_kib;
    record_.exit_code = model::exit_code_of_job(exited.status, exited.signal);
    if (exited.out_of_memory != 0 && record_.exit_code != 0) {
      log_.warning(fmt::format("the guest ran out of memory ({} MiB): give it more with resources.memory_mib",
                               record_.memory_mib));
    }
  }
  if (timed_out_) {
    return base::fail(Code::timeout, "time_limit",
                      fmt::format("the job ran longer than its time limit of {} s", admission_->time_limit.count()));
  }
  if (cancellation_.requested()) return base::fail(Code::cancelled, "cancelled", "the job was cancelled");
  if (end.result && !has_status && end.result->error().reason == "command_not_started") {
    // As shells and docker have it: the job's own failure, not the host's.
    record_.exit_code = end.result->error().code == Code::not_found ? 127 : 126;
    record_.outcome = Outcome::failed;
    record_.reason = "command_not_started";
    record_.message = end.result->error().describe();
    log_.error(end.result->error());
    return {};
  }
  if (!has_status) {
    return base::fail(
        end.result ? end.result->error()
                   : base::Error(Code::guest_failure, "agent_lost", "the guest's agent was lost before the job's end"));
  }
  record_.outcome = record_.exit_code == 0 ? Outcome::succeeded : Outcome::failed;
  record_.reason = model::to_string(record_.exit_code == 0 ? model::Reason::job_succeeded : model::Reason::job_failed);
  return {};
}

}  // namespace cleanroom::runner
