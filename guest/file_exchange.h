#pragma once
// FileExchange: one `PUT` or `GET /v1/files`. The copying is done by a child of the agent (tree.h), which may block on
// the job's files as long as it likes; the loop only moves bytes between the child's pipe and the stream.
#include "guest/exchange.h"
#include "guest/stream_io.h"
#include "src/channel/messages.h"

namespace cleanroom::guest {

class FileExchange final : public Exchange {
 public:
  enum class Direction { into_guest, out_of_guest };
  // Answers the stream itself, also when it cannot begin.
  FileExchange(Loop& loop, channel::H2Session& session, channel::StreamId stream);
  ~FileExchange() override;
  void start(Direction direction, const std::string& directory, const std::vector<std::string>& patterns);

  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_writable() override;
  void on_closed() override;
  bool is_over() const override { return over_; }

 private:
  base::Result<void> start_child(Direction direction, const std::string& directory,
                                 const std::vector<std::string>& patterns);
  void read_output();
  void close_output();
  void on_child_end(int wait_status);
  void end_if_done();
  void fail(std::string_view report);

  Loop& loop_;
  channel::H2Session& session_;
  channel::StreamId stream_;
  StreamWriter writer_;
  StreamToFd input_;
  base::Fd output_;
  base::Fd errors_;  // the child writes "STATUS text" when it fails
  pid_t child_ = 0;
  bool child_ended_ = false;
  bool failed_ = false;
  bool sends_ = false;  // out_of_guest
  bool answered_ = false;
  bool over_ = false;
};

}  // namespace cleanroom::guest
