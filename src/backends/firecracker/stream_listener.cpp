#include "src/backends/firecracker/stream_listener.h"

#include "src/backends/firecracker/vm_config.h"

#include <sys/socket.h>
#include <unistd.h>

namespace cleanroom::backends::firecracker {

namespace asio = base::asio;
using base::Awaitable;
using base::Result;

std::string socket_path(const base::Fd& directory, const std::string& name) {
  return fmt::format("/proc/self/fd/{}/{}", directory.get(), name);
}

std::string listener_name(std::uint32_t port) {
  return fmt::format("{}_{}", kVsockSocket, port);
}

Result<base::Fd> make_listening_socket() {
  base::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::fail(base::errno_error("make", "a socket"));
  return socket;
}

StreamListener::StreamListener(const asio::any_io_executor& executor, base::Fd socket) : acceptor_(executor) {
  acceptor_.assign(asio::local::stream_protocol(), socket.release());
}

Awaitable<Result<channel::StreamSocket>> StreamListener::accept() {
  auto [ec, socket] = co_await acceptor_.async_accept(base::kTuple);
  close();
  if (ec) co_return base::fail(base::asio_error("accept", "the guest's connection", ec));
  co_return std::move(socket);
}

void StreamListener::close() {
  base::ErrorCode ignored;
  acceptor_.close(ignored);
}

}  // namespace cleanroom::backends::firecracker
