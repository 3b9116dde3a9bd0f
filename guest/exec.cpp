#include "guest/exec.h"

#include "guest/exec_init.h"
#include "src/base/os/ascii.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kOutputReadSize = 64 * 1024;
constexpr std::size_t kMaxExecReport = 8 * 1024;
constexpr std::byte kTerminalEnd{4};  // ^D

bool is_valid_id(std::string_view id) {
  return !id.empty() && std::all_of(id.begin(), id.end(), [](char c) {
    return base::is_ascii_lower(c) || base::is_ascii_digit(c) || c == '-';
  });
}

// What the init reported, with what only the agent knows.
class ReportReader final : public channel::FrameDecoder::Sink {
 public:
  explicit ReportReader(bool had_memory_kill) : had_memory_kill_(had_memory_kill) {}
  void on_output(channel::FrameType, std::span<const std::byte>) override {}
  void on_exited(const channel::Exited& exited) override {
    channel::Exited completed = exited;
    completed.out_of_memory = had_memory_kill_ ? 1 : 0;
    frame = channel::encode(completed);
  }
  void on_failed(const channel::ExecFailed& failed) override { frame = channel::encode(failed); }
  std::vector<std::byte> frame;

 private:
  bool had_memory_kill_;
};

struct Terminal {
  base::Fd master;
  base::Fd slave;
};

base::Result<Terminal> open_terminal(std::uint16_t rows, std::uint16_t columns) {
  Terminal terminal;
  CR_ASSIGN(terminal.master, base::open_file(std::string(kJobRoot) + "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
  int unlocked = 0;
  ::ioctl(terminal.master.get(), TIOCSPTLCK, &unlocked);
  terminal.slave = base::Fd(::ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.slave) return base::fail(base::errno_error("open", "a terminal"));
  const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  ::ioctl(terminal.master.get(), TIOCSWINSZ, &size);
  return terminal;
}

base::Fd duplicate(const base::Fd& fd) {
  return base::Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
}

}  // namespace

Exec::Exec(Loop& loop, channel::H2Session& session, channel::StreamId stream, std::optional<ExecProcess> prepared,
           bool has_disks)
    : loop_(loop),
      session_(session),
      stream_(stream),
      writer_(session, stream),
      input_(loop, session, stream),
      process_(std::move(prepared)),
      has_disks_(has_disks) {}

Exec::~Exec() {
  for (auto& output : outputs_)
    close_output(output);
  if (!is_started_) return;
  close_control();
  if (!child_ended_) loop_.forget_child(process_->pid());
}

void Exec::refuse(int status, std::string_view text) {
  refused_ = true;
  over_ = true;
  respond(session_, stream_, status, text);
}

void Exec::on_data(std::span<const std::byte> bytes) {
  if (!is_started_ && !refused_) on_request_bytes(bytes);
  if (refused_ || request_.has_stdin == 0) {
    session_.consumed(stream_, bytes.size());
  } else if (!bytes.empty()) {
    input_.push(bytes);
  }
}

// Takes the record's part of `bytes`; the rest is stdin.
void Exec::on_request_bytes(std::span<const std::byte>& bytes) {
  constexpr std::size_t kHead = channel::kExecRequestHead;
  const auto take = [&](std::size_t wanted) {
    const auto size = std::min(wanted - record_.size(), bytes.size());
    record_.insert(record_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    bytes = bytes.subspan(size);
    session_.consumed(stream_, size);
    return record_.size() == wanted;
  };
  if (record_.size() < kHead && !take(kHead)) return;
  std::size_t size = 0;
  for (std::size_t i = 0; i < kHead; ++i)
    size = size << 8 | std::to_integer<std::size_t>(record_[i]);
  if (size > channel::kMaxExecRequest) return refuse(400, "the exec request is too long");
  if (!take(kHead + size)) return;
  auto request = channel::decode_exec_request(std::span(record_).subspan(kHead));
  record_ = {};
  if (!request) return refuse(400, request.error().message);
  if (!is_valid_id(request->id)) return refuse(400, "the exec id must be of a-z, 0-9 and '-'");
  request_ = std::move(*request);
  if (auto started = start(); !started) refuse(500, started.error().describe());
}

base::Result<void> Exec::start() {
  if (!process_) {
    CR_ASSIGN(auto prepared, ExecProcess::prepare());
    process_.emplace(std::move(prepared));
  }
  CR_ASSIGN(const auto streams, open_streams());
  CR_TRY(process_->run(request_, streams));
  if (has_disks_) CR_TRY(process_->announce_disks());
  is_started_ = true;
  loop_.watch(process_->control().get(), EPOLLIN, [this](std::uint32_t) { on_report(); });
  loop_.watch_child(process_->pid(), [this](int) { on_child_end(); });
  request_.commands.clear();
  request_.environment.clear();
  CR_TRY(session_.submit_response(stream_, {{":status", "200"}}, channel::EndStream::no));
  wait_for_outputs();
  return {};
}

base::Result<ExecStreams> Exec::open_streams() {
  ExecStreams streams;
  base::Fd to_command;
  outputs_[1].type = channel::FrameType::standard_error;
  if (request_.tty != 0) {
    CR_ASSIGN(auto terminal, open_terminal(request_.rows, request_.columns));
    streams.input = duplicate(terminal.slave);
    streams.output = duplicate(terminal.slave);
    streams.errors = std::move(terminal.slave);
    to_command = duplicate(terminal.master);
    terminal_ = duplicate(terminal.master);
    outputs_[0].fd = std::move(terminal.master);
  } else {
    CR_ASSIGN(auto output, base::make_pipe());
    CR_ASSIGN(auto errors, base::make_pipe());
    streams.output = std::move(output.write);
    streams.errors = std::move(errors.write);
    outputs_[0].fd = std::move(output.read);
    outputs_[1].fd = std::move(errors.read);
    if (request_.has_stdin != 0) {
      CR_ASSIGN(auto input, base::make_pipe());
      streams.input = std::move(input.read);
      to_command = std::move(input.write);
    } else {
      CR_ASSIGN(streams.input, base::open_file("/dev/null", O_RDONLY));
    }
  }
  for (auto& output : outputs_) {
    if (!output.fd) continue;
    CR_TRY(base::set_nonblocking(output.fd, true));
    loop_.watch(output.fd.get(), 0, [this, &output](std::uint32_t) { read_output(output); });
  }
  if (to_command && request_.has_stdin != 0) {
    CR_TRY(base::set_nonblocking(to_command, true));
    input_.open(std::move(to_command));
  }
  return streams;
}

void Exec::on_disks() {
  has_disks_ = true;
  // An error: the init has ended, and its end is on its way.
  if (is_started_ && !child_ended_) (void)process_->announce_disks();
}

void Exec::signal(std::uint8_t number) {
  if (process_ && process_->control() && ::send(process_->control().get(), &number, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
    return;  // it is ending
}

void Exec::resize(std::uint16_t rows, std::uint16_t columns) {
  const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  if (terminal_) ::ioctl(terminal_.get(), TIOCSWINSZ, &size);
}

void Exec::on_end() {
  if (refused_) return;
  if (!is_started_) return refuse(400, "the exec request ended early");
  input_.end(request_.tty != 0 ? std::vector{kTerminalEnd} : std::vector<std::byte>{});
}

void Exec::on_writable() {
  if (!writer_.push_more()) return;
  wait_for_outputs();
  end_if_done();
}

void Exec::on_closed() {
  stream_ = 0;
  input_.close();
  for (auto& output : outputs_)
    close_output(output);
  if (!is_started_ || child_ended_) {
    over_ = true;
    return;
  }
  process_->kill();
  process_->cgroup().kill_all();
}

void Exec::wait_for_outputs() {
  const std::uint32_t events = writer_.empty() ? std::uint32_t{EPOLLIN} : 0U;
  for (const auto& output : outputs_) {
    if (output.fd) loop_.change(output.fd.get(), events);
  }
}

void Exec::read_output(Output& output) {
  if (!output.fd || !writer_.empty()) return;
  static std::byte buffer[kOutputReadSize];
  const ssize_t n = ::read(output.fd.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EINTR || (errno == EAGAIN && !child_ended_))) return;
  if (n <= 0) {  // a terminal says EIO; after the end of all processes, nothing to read is the end too
    close_output(output);
    return end_if_done();
  }
  if (!writer_.push(channel::encode_output(output.type, {buffer, static_cast<std::size_t>(n)}))) wait_for_outputs();
}

void Exec::close_output(Output& output) {
  if (!output.fd) return;
  loop_.forget(output.fd.get());
  output.fd.reset();
}

void Exec::close_control() {
  if (!process_->control()) return;
  loop_.forget(process_->control().get());
  process_->close_control();
}

void Exec::on_report() {
  std::array<std::byte, kMaxExecReport> buffer;
  const ssize_t n = ::recv(process_->control().get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n > 0) {
    last_frame_.assign(buffer.begin(), buffer.begin() + n);
    return;
  }
  close_control();
}

void Exec::on_child_end() {
  child_ended_ = true;
  process_->end();
  if (process_->control()) on_report();
  close_control();
  ReportReader reader(process_->cgroup().had_memory_kill());
  channel::FrameDecoder decoder(reader);
  // No whole report: the init was killed, which only the kernel or an attack from inside the job does.
  const bool is_reported = decoder.feed(last_frame_) && decoder.is_complete();
  if (!is_reported) reader.on_exited(channel::Exited{.signal = SIGKILL});
  last_frame_ = std::move(reader.frame);
  process_->cgroup().kill_all();
  input_.close();
  end_if_done();
}

void Exec::end_if_done() {
  if (!child_ended_ || over_) return;
  if (stream_ == 0) {
    over_ = true;
    return;
  }
  for (auto& output : outputs_) {
    while (output.fd && writer_.empty())
      read_output(output);
  }
  if (!writer_.empty() || over_) return;
  if (!std::exchange(last_frame_sent_, true) && !writer_.push(std::move(last_frame_))) return;
  session_.finish(stream_);
  over_ = true;
}

}  // namespace cleanroom::guest
