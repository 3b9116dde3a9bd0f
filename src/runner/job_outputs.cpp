// After the command: what the output patterns match comes back as a tar stream. The guest selects, the host checks
// every entry (output_receiver.h). Runs for every ending; a cancelled job has until its hard stop.
#include "src/base/os/io.h"
#include "src/model/exit_code.h"
#include "src/runner/job_run.h"
#include "src/runner/output_receiver.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>

namespace cleanroom::runner {

using base::Awaitable;
using base::Code;
using base::Result;
using namespace base::asio::experimental::awaitable_operators;

namespace {

constexpr std::chrono::minutes kOutputLimit{10};

}  // namespace

Awaitable<void> JobRun::outputs_phase() {
  if (request_.outputs.empty()) co_return;
  if (vm_killed_) {
    log_.line("the outputs are not fetched: the VM had to be stopped");
    co_return;
  }
  auto fetched = co_await fetch_outputs();
  record_.timer.finish("outputs");
  if (fetched) co_return;
  // The job's own verdict stands; a success without its outputs is none.
  log_.error(fetched.error());
  if (record_.outcome == Outcome::succeeded) {
    record_.outcome = Outcome::infrastructure;
    record_.reason = fetched.error().reason.empty() ? "output_failed" : fetched.error().reason;
    record_.message = fetched.error().describe();
    record_.exit_code = static_cast<int>(model::ExitCode::infrastructure);
  }
}

// Guest to pipe, until the guest is done, the deadline, or the hard stop of a cancelled run. The receiver hears of a
// failure before the pipe closes, so that it takes nothing of a stream that broke off, however complete it looks.
Awaitable<Result<void>> JobRun::send_outputs(base::asio::posix::stream_descriptor into, base::Deadline deadline) {
  auto transfer = base::with_deadline<void>(deadline, "fetch the outputs",
                                            machine_->session->fetch_files(request_.workdir, request_.outputs, into));
  auto first = co_await (std::move(transfer) || cancellation_.wait_hard_stop());
  Result<void> sent = base::fail(Code::cancelled, "cancelled", "cancelled while the outputs were fetched");
  if (first.index() == 0) sent = std::move(std::get<0>(first));
  if (!sent) stop_.request_stop();
  into.close();
  co_return sent;
}

Awaitable<Result<void>> JobRun::fetch_outputs() {
  const auto deadline = base::deadline_in(kOutputLimit);
  OutputOptions options{
      .checkout = request_.checkout, .globs = {}, .limits = {}, .deadline = deadline, .stop = stop_.get_token()};
  for (const auto& pattern : request_.outputs)
    CR_CO_TRY(options.globs.add(pattern));
  CR_CO_ASSIGN(auto pipe, base::make_pipe());
  CR_CO_TRY(base::set_nonblocking(pipe.write, true));
  base::asio::posix::stream_descriptor into(context_, pipe.write.release());
  const auto from = std::make_shared<base::Fd>(std::move(pipe.read));
  auto receive = [from, options] {
    auto report = receive_outputs(*from, options);
    from->reset();  // the sender sees that nobody reads
    return report;
  };
  auto received = base::run_blocking<OutputReport>(pool_, std::move(receive));
  auto [sent, report] = co_await (send_outputs(std::move(into), deadline) && std::move(received));
  // A stream that broke off makes the receiver fail too; the sender knows why.
  if (!sent) co_return base::fail(std::move(sent).error());
  if (!report) co_return base::fail(std::move(report).error());
  for (const auto& rejected : report->rejected) {
    record_.outputs_rejected.push_back(fmt::format("{}: {}", rejected.path, rejected.cause));
  }
  record_.output_files = report->files;
  record_.output_bytes = report->bytes;
  co_return Result<void>{};
}

}  // namespace cleanroom::runner
