#pragma once
// H2Link: one HTTP/2 session on one channel port, driven by the loop.
#include "guest/loop.h"
#include "src/channel/h2_session.h"

#include <functional>
#include <string>

namespace cleanroom::guest {

class H2Link {
 public:
  // `fd` is non-blocking. `on_lost` runs once when the peer is gone or broke the protocol; the link is dead then.
  H2Link(Loop& loop, base::Fd fd, channel::Role role, const channel::H2Limits& limits,
         channel::H2Session::Handler& handler, std::function<void(std::string why)> on_lost);
  H2Link(const H2Link&) = delete;
  H2Link& operator=(const H2Link&) = delete;
  ~H2Link();

  channel::H2Session& session() { return session_; }
  bool is_drained() const { return sent_ == out_.size() && !session_.wants_to_send(); }

 private:
  void on_events(std::uint32_t events);
  void read();
  void flush();
  bool write_some();  // true when all of out_ is gone
  void lose(std::string why);

  Loop& loop_;
  base::Fd fd_;
  channel::H2Session session_;
  std::function<void(std::string)> on_lost_;
  std::vector<std::byte> out_;
  std::size_t sent_ = 0;
  bool lost_ = false;
};

}  // namespace cleanroom::guest
