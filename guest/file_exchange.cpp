#include "guest/file_exchange.h"

#include "guest/exec_init.h"
#include "guest/tree.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <charconv>
#include <csignal>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kFileReadSize = 64 * 1024;

int http_status_of(base::Code code) {
  switch (code) {
    case base::Code::not_found:
      return 404;
    case base::Code::invalid_input:
      return 400;
    case base::Code::failed_precondition:
      return 409;
    case base::Code::policy_denied:
    case base::Code::already_exists:
    case base::Code::unavailable:
    case base::Code::timeout:
    case base::Code::cancelled:
    case base::Code::guest_failure:
    case base::Code::unsupported:
    case base::Code::internal:
      break;
  }
  return 500;
}

[[noreturn]] void run_child(FileExchange::Direction direction, const std::string& directory,
                            const std::vector<std::string>& patterns, const base::Fd& data, const base::Fd& errors) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "cleanroom-files");
  auto root = base::open_file(kJobRoot, O_PATH | O_DIRECTORY);
  base::Result<void> done;
  if (!root) {
    done = base::fail(root.error());
  } else if (direction == FileExchange::Direction::out_of_guest) {
    done = send_tree(*root, directory, patterns, data);
  } else {
    done = receive_tree(*root, directory, data);
  }
  if (done) ::_exit(0);
  const auto text = fmt::format("{} {}", http_status_of(done.error().code), done.error().describe());
  if (!base::write_all(errors, std::string_view(text).substr(0, channel::kMaxErrorText))) ::_exit(2);
  ::_exit(1);
}

}  // namespace

FileExchange::FileExchange(Loop& loop, channel::H2Session& session, channel::StreamId stream)
    : loop_(loop), session_(session), stream_(stream), writer_(session, stream), input_(loop, session, stream) {}

FileExchange::~FileExchange() {
  close_output();
  if (child_ > 0 && !child_ended_) {
    loop_.forget_child(child_);
    ::kill(child_, SIGKILL);
  }
}

void FileExchange::start(Direction direction, const std::string& directory, const std::vector<std::string>& patterns) {
  if (auto started = start_child(direction, directory, patterns); !started) fail("500 " + started.error().describe());
}

base::Result<void> FileExchange::start_child(Direction direction, const std::string& directory,
                                             const std::vector<std::string>& patterns) {
  sends_ = direction == Direction::out_of_guest;
  CR_ASSIGN(auto data, base::make_pipe());
  CR_ASSIGN(auto errors, base::make_pipe());
  const pid_t child = ::fork();
  if (child < 0) return base::fail(base::errno_error("start", "the file copier"));
  if (child == 0) {
    // Our copy of the other end would keep the pipe open.
    (sends_ ? data.read : data.write).reset();
    run_child(direction, directory, patterns, sends_ ? data.write : data.read, errors.write);
  }
  child_ = child;
  loop_.watch_child(child_, [this](int wait_status) { on_child_end(wait_status); });
  errors_ = std::move(errors.read);
  CR_TRY(base::set_nonblocking(errors_, true));
  CR_TRY(base::set_nonblocking(sends_ ? data.read : data.write, true));
  if (sends_) {
    output_ = std::move(data.read);
    loop_.watch(output_.get(), EPOLLIN, [this](std::uint32_t) { read_output(); });
  } else {
    input_.open(std::move(data.write));
  }
  return {};
}

void FileExchange::on_data(std::span<const std::byte> bytes) {
  input_.push(bytes);
}

void FileExchange::on_end() {
  input_.end({});
}

void FileExchange::read_output() {
  if (!output_ || !writer_.empty()) return;
  static std::byte buffer[kFileReadSize];
  const ssize_t n = ::read(output_.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EINTR || (errno == EAGAIN && !child_ended_))) return;
  if (n <= 0) {
    close_output();
    return end_if_done();
  }
  // Only now is it known that there is something to send: what fails before gets a status of its own.
  if (!std::exchange(answered_, true)) {
    const channel::Headers headers{{":status", "200"}, {"content-type", "application/x-tar"}};
    if (!session_.submit_response(stream_, headers, channel::EndStream::no)) return close_output();
  }
  if (!writer_.push({buffer, buffer + n})) loop_.change(output_.get(), 0);
}

void FileExchange::close_output() {
  if (!output_) return;
  loop_.forget(output_.get());
  output_.reset();
}

void FileExchange::on_writable() {
  if (!writer_.push_more()) return;
  if (output_) loop_.change(output_.get(), EPOLLIN);
  end_if_done();
}

void FileExchange::on_closed() {
  stream_ = 0;
  input_.close();
  close_output();
  if (child_ == 0 || child_ended_) {
    over_ = true;
  } else {
    ::kill(child_, SIGKILL);
  }
}

void FileExchange::on_child_end(int wait_status) {
  child_ended_ = true;
  input_.close();
  failed_ = !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0;
  end_if_done();
}

void FileExchange::end_if_done() {
  if (!child_ended_ || over_) return;
  if (stream_ == 0) {
    over_ = true;
    return;
  }
  if (failed_) {
    std::array<std::byte, channel::kMaxErrorText> text;
    const auto report = base::read_some(errors_, text);
    return fail(report && *report > 0 ? base::as_text(std::span(text).first(*report))
                                      : "500 the file copier was killed");
  }
  while (output_ && writer_.empty() && !over_)
    read_output();
  if (over_ || output_ || !writer_.empty()) return;
  if (sends_) {
    session_.finish(stream_);
  } else {
    respond(session_, stream_, 204);
  }
  over_ = true;
}

// `report` is "STATUS text".
void FileExchange::fail(std::string_view report) {
  close_output();
  over_ = true;
  int status = 500;
  std::from_chars(report.data(), report.data() + report.size(), status);
  const auto space = report.find(' ');
  // Half an archive is sent already: only a reset can tell that the rest is missing.
  if (answered_) return session_.reset(stream_, channel::kInternalError);
  respond(session_, stream_, status, space == std::string_view::npos ? report : report.substr(space + 1));
}

}  // namespace cleanroom::guest
