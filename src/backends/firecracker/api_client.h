#pragma once
// ApiClient: requests to one Firecracker process over its API socket, one at a time, on one connection (HTTP/1.1).
// Firecracker is trusted less than we are: an answer is read up to a limit, and its text is escaped before anyone sees
// it. One thread.
#include "src/backends/firecracker/vm_config.h"
#include "src/base/async/asio.h"

#include <boost/asio/local/stream_protocol.hpp>

#include <cstddef>
#include <string>

namespace cleanroom::backends::firecracker {

inline constexpr std::size_t kMaxAnswerHead = 8 * 1024;
inline constexpr std::size_t kMaxAnswerBody = 64 * 1024;
inline constexpr std::size_t kMaxFaultText = 1024;  // of what Firecracker says, in an error for people

class ApiClient {
 public:
  // A connected socket.
  explicit ApiClient(base::asio::local::stream_protocol::socket socket) : socket_(std::move(socket)) {}

  // launch_failed: Firecracker refuses (the message has the request and Firecracker's own words), breaks HTTP, or hangs
  // up. launch_timeout. After any of the latter three the connection is closed.
  base::Awaitable<base::Result<void>> call(ApiCall call, base::Deadline deadline);
  void close();

 private:
  base::Awaitable<base::Result<void>> exchange(ApiCall call);
  base::asio::local::stream_protocol::socket socket_;
};

// The cause in Firecracker's words: `fault_message` of a JSON answer, else the body itself; printable, capped.
std::string fault_text(const std::string& body);

}  // namespace cleanroom::backends::firecracker
