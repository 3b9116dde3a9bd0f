#pragma once
// Control: the agent's HTTP/2 server on the control stream; the requests are those of src/channel/messages.h.
#include "guest/exchange.h"
#include "guest/exec.h"
#include "guest/h2_link.h"
#include "src/channel/handshake.h"
#include "src/channel/messages.h"

#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace cleanroom::guest {

class Control final : private channel::H2Session::Handler {
 public:
  // `on_lost` as of H2Link: without the host there is nothing left to do.
  // `prepared` is for the first command.
  Control(Loop& loop, base::Fd port, const channel::StartRecord& start, ExecProcess prepared,
          std::function<void(std::string)> on_lost);

  // The job's disks are mounted. Until then all requests wait, but for whether the agent is there, and the first
  // command, which is made ready as far as it needs no disk.
  void open();

 private:
  // A request that waits. What comes of its body fits the stream's window: nothing is given back to it.
  struct Held {
    std::string method;
    channel::RequestTarget target;
    std::vector<std::byte> body;
    bool ended = false;
  };
  void dispatch(channel::StreamId stream, const std::string& method, const channel::RequestTarget& target);
  void post(channel::StreamId stream, const channel::RequestTarget& target);
  void files(channel::StreamId stream, const std::string& method, const channel::RequestTarget& target);
  void signal(channel::StreamId stream, const channel::RequestTarget& target);
  void resize(channel::StreamId stream, const channel::RequestTarget& target);
  void shut_down(channel::StreamId stream);
  Exec* find_exec(const channel::RequestTarget& target);
  void remove_finished();

  void on_headers(channel::StreamId stream, channel::Headers headers, channel::EndStream end) override;
  void on_data(channel::StreamId stream, std::span<const std::byte> bytes) override;
  void on_end(channel::StreamId stream) override;
  void on_closed(channel::StreamId stream, std::uint32_t error_code) override;
  void on_writable(channel::StreamId stream) override;
  Exchange* find(channel::StreamId stream);
  bool must_wait(const std::string& method, const channel::RequestTarget& target) const;

  Loop& loop_;
  std::string nonce_;
  std::optional<ExecProcess> prepared_;
  H2Link link_;
  bool is_open_ = false;
  std::map<channel::StreamId, Held> held_;
  std::map<channel::StreamId, Exchange*> by_stream_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;
  std::vector<Exec*> execs_;  // those of exchanges_
  bool shutting_down_ = false;
};

}  // namespace cleanroom::guest
