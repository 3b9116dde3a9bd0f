#pragma once
// The host's end of one vsock port that the guest dials: a listening Unix socket under the name that Firecracker
// derives from the port (docs/vsock.md there: guest-initiated connections). It takes one connection; afterwards the
// name is gone and every later dial of the guest is refused. The directory must be private: whoever can connect to the
// name is taken for the guest.
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

class StreamListener {
 public:
  // `directory` must stay open until accept() has returned.
  static base::Result<StreamListener> create(const base::asio::any_io_executor& executor, const base::Fd& directory,
                                             std::uint32_t port);
  // Once. cancelled when it is closed meanwhile.
  base::Awaitable<base::Result<channel::StreamSocket>> accept();
  void close();

 private:
  using Acceptor = base::asio::local::stream_protocol::acceptor;
  StreamListener(Acceptor acceptor, std::string path) : acceptor_(std::move(acceptor)), path_(std::move(path)) {}
  Acceptor acceptor_;
  std::string path_;
};

}  // namespace cleanroom::backends::firecracker
