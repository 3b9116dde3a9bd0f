#include "src/runner/job_log.h"

#include "src/base/os/io.h"
#include "src/base/text/utf8.h"

#include <unistd.h>

#include <atomic>

namespace cleanroom::runner {

using base::Awaitable;
using base::Result;

namespace {

// Our own descriptor of a standard stream is borrowed, never closed.
Result<void> write_to(int number, std::string_view text) {
  base::Fd borrowed(number);
  auto written = base::write_all(borrowed, text);
  (void)borrowed.release();
  return written;
}

// Every line of it, so that no text of a guest or a file can begin a line of the log by itself.
std::string escaped(std::string_view text) {
  std::string clean;
  for (bool first = true; first || !text.empty(); first = false) {
    const auto end = text.find('\n');
    if (!first) clean += "\n           ";
    clean += base::escape_for_display(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return clean;
}

}  // namespace

JobLog::JobLog(base::BlockingPool& writer, Style style) : writer_(writer), style_(style) {}

Awaitable<Result<void>> JobLog::write(channel::FrameType stream, std::span<const std::byte> bytes) {
  const bool to_stdout = stream == channel::FrameType::standard_output;
  std::string text;
  (to_stdout ? out_ : err_).feed(bytes, text);
  if (text.empty()) co_return Result<void>{};
  const int number = to_stdout ? STDOUT_FILENO : STDERR_FILENO;
  // A reader that went away does not end the job: its exit status still counts.
  auto job = [number, text = std::move(text)] { return write_to(number, text); };
  (void)co_await base::run_blocking<void>(writer_, std::move(job));
  co_return Result<void>{};
}

Awaitable<void> JobLog::finish() {
  std::string out;
  std::string err;
  out_.finish(out);
  err_.finish(err);
  auto job = [out = std::move(out), err = std::move(err)]() -> Result<void> {
    CR_TRY(write_to(STDOUT_FILENO, out));
    return write_to(STDERR_FILENO, err);
  };
  (void)co_await base::run_blocking<void>(writer_, std::move(job));
}

void JobLog::post(std::string text) {
  // Changed on two threads, by whole words only.
  std::atomic_ref<std::size_t> pending(*pending_);
  if (pending.load() + text.size() > kMaxPendingLines) return;
  pending += text.size();
  base::asio::post(writer_.pool(), [text = std::move(text), counter = pending_] {
    (void)write_to(STDERR_FILENO, text);
    std::atomic_ref<std::size_t>(*counter) -= text.size();
  });
}

void JobLog::setup_heading(std::string_view text) {
  if (style_ == Style::buildkite) post(fmt::format("~~~ {}\n", escaped(text)));
}

void JobLog::job_heading(std::string_view text) {
  post(style_ == Style::buildkite ? fmt::format("+++ {}\n", escaped(text))
                                  : fmt::format("cleanroom: {}\n", escaped(text)));
}

void JobLog::line(std::string_view text) {
  post(fmt::format("cleanroom: {}\n", escaped(text)));
}
void JobLog::warning(std::string_view text) {
  line(fmt::format("warning: {}", text));
}

void JobLog::error(const base::Error& error) {
  if (style_ == Style::buildkite) post("^^^ +++\n");
  line(fmt::format("error: {}", error.describe()));
  if (!error.hint.empty()) line(fmt::format("hint: {}", error.hint));
}

}  // namespace cleanroom::runner
