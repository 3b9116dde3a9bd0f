#pragma once
// JobLog: what a person reads. The job's output goes to stdout and stderr through the log filter; our own lines go to
// stderr. All writes happen in order on one thread of their own: a reader that stalls holds the job back, never the
// event loop.
#include "src/base/async/run_blocking.h"
#include "src/runner/guest_session.h"
#include "src/runner/log_filter.h"

#include <string>
#include <string_view>

namespace cleanroom::runner {

// Of our own lines, waiting for a stalled reader. What does not fit is dropped; the record has it all the same.
inline constexpr std::size_t kMaxPendingLines = 256 * 1024;

class JobLog final : public JobOutputSink {
 public:
  enum class Style { plain, buildkite };  // buildkite: log groups (`~~~`, `+++`)
  // `writer` has one thread and outlives this.
  JobLog(base::BlockingPool& writer, Style style);

  // Completes when the reader of our stdout or stderr has taken it.
  base::Awaitable<base::Result<void>> write(channel::FrameType stream, std::span<const std::byte> bytes) override;
  // Ends the filters (an unfinished escape sequence is shown) and waits until all is written.
  base::Awaitable<void> finish();

  // Buildkite: opens a folded group. Plain: nothing.
  void setup_heading(std::string_view text);
  // Buildkite: opens the group with the job's own output.
  void job_heading(std::string_view text);
  // `cleanroom: text`; control characters escaped.
  void line(std::string_view text);
  void warning(std::string_view text);
  void error(const base::Error& error);

 private:
  void post(std::string text);
  base::BlockingPool& writer_;
  Style style_;
  LogFilter out_;
  LogFilter err_;
  std::shared_ptr<std::size_t> pending_ = std::make_shared<std::size_t>(0);
};

}  // namespace cleanroom::runner
