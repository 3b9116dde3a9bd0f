#pragma once
// Exec: one `POST /v1/exec`. Reads the request, starts the command in namespaces of its own (exec_init.h), and carries
// its streams. The command is over when its main process is: everything it started is killed then (as in a container),
// what is left in the pipes is sent, then the exit record.
#include "guest/exchange.h"
#include "guest/exec_process.h"
#include "guest/stream_io.h"
#include "src/channel/messages.h"

#include <array>
#include <memory>
#include <optional>

namespace cleanroom::guest {

class Exec final : public Exchange {
 public:
  // `prepared`: processes that are there already, if there are any. `has_disks`: the job's disks are mounted; else the
  // command waits, all made, for on_disks().
  Exec(Loop& loop, channel::H2Session& session, channel::StreamId stream, std::optional<ExecProcess> prepared,
       bool has_disks);
  ~Exec() override;

  const std::string& id() const { return request_.id; }  // empty until the request was read
  bool is_running() const { return is_started_; }
  void on_disks();
  void signal(std::uint8_t number);
  void resize(std::uint16_t rows, std::uint16_t columns);

  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_writable() override;
  void on_closed() override;
  bool is_over() const override { return over_; }

 private:
  struct Output {
    base::Fd fd;  // invalid once it is at its end
    channel::FrameType type = channel::FrameType::standard_output;
  };
  void on_request_bytes(std::span<const std::byte>& bytes);
  base::Result<void> start();
  base::Result<ExecStreams> open_streams();
  void refuse(int status, std::string_view text);
  void read_output(Output& output);
  void close_output(Output& output);
  void wait_for_outputs();
  void on_report();
  void close_control();
  void on_child_end();
  void end_if_done();

  Loop& loop_;
  channel::H2Session& session_;
  channel::StreamId stream_;  // 0 once it is closed
  StreamWriter writer_;
  StreamToFd input_;
  std::vector<std::byte> record_;  // of the request, while it comes
  bool refused_ = false;
  channel::ExecRequest request_;
  std::optional<ExecProcess> process_;
  base::Fd terminal_;  // the pty's master, for resize
  std::array<Output, 2> outputs_;
  bool has_disks_;
  bool is_started_ = false;
  bool child_ended_ = false;
  std::vector<std::byte> last_frame_;  // exited or failed
  bool last_frame_sent_ = false;
  bool over_ = false;
};

}  // namespace cleanroom::guest
