#include "src/backends/firecracker/stream_listener.h"

#include "src/backends/firecracker/vm_config.h"

#include <unistd.h>

namespace cleanroom::backends::firecracker {

namespace asio = base::asio;
using base::Awaitable;
using base::Result;

std::string socket_path(const base::Fd& directory, const std::string& name) {
  return fmt::format("/proc/self/fd/{}/{}", directory.get(), name);
}

Result<StreamListener> StreamListener::create(const asio::any_io_executor& executor, const base::Fd& directory,
                                              std::uint32_t port) {
  const std::string name = fmt::format("{}_{}", kVsockSocket, port);
  std::string path = socket_path(directory, name);
  Acceptor acceptor(executor);
  base::ErrorCode ec;
  acceptor.open(asio::local::stream_protocol(), ec);
  if (!ec) acceptor.bind(asio::local::stream_protocol::endpoint(path), ec);
  if (!ec) acceptor.listen(1, ec);
  if (ec) return base::fail(base::asio_error("listen on", name, ec));
  return StreamListener(std::move(acceptor), std::move(path));
}

Awaitable<Result<channel::StreamSocket>> StreamListener::accept() {
  auto [ec, socket] = co_await acceptor_.async_accept(base::kTuple);
  close();
  if (ec) co_return base::fail(base::asio_error("accept", "the guest's connection", ec));
  co_return std::move(socket);
}

void StreamListener::close() {
  if (!acceptor_.is_open()) return;
  base::ErrorCode ignored;
  acceptor_.close(ignored);
  (void)::unlink(path_.c_str());
}

}  // namespace cleanroom::backends::firecracker
