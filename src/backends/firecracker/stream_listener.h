#pragma once
// The host's end of one vsock port that the guest dials: a Unix socket that listens in the VMM's directory, under the
// name that Firecracker derives from the port (docs/vsock.md there: guest-initiated connections). It takes one
// connection; every later dial of the guest is refused. The directory must be private: whoever can connect to the name
// is taken for the guest.
#include "src/base/async/asio.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/channel/h2_connection.h"

#include <boost/asio/local/stream_protocol.hpp>

#include <cstdint>
#include <string>

namespace cleanroom::backends::firecracker {

// A name in an open directory that fits into a socket address however long the directory's own path is.
std::string socket_path(const base::Fd& directory, const std::string& name);
// Where Firecracker looks for the host's end of a port.
std::string listener_name(std::uint32_t port);
// One that has no name yet: the jail binds it.
base::Result<base::Fd> make_listening_socket();

class StreamListener {
 public:
  // `socket` listens.
  StreamListener(const base::asio::any_io_executor& executor, base::Fd socket);
  // Once. cancelled when it is closed meanwhile.
  base::Awaitable<base::Result<channel::StreamSocket>> accept();
  void close();

 private:
  base::asio::local::stream_protocol::acceptor acceptor_;
};

}  // namespace cleanroom::backends::firecracker
