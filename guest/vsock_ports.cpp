#include "guest/vsock_ports.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

// After sys/socket.h, whose types it uses without including it.
#include <linux/vm_sockets.h>

namespace cleanroom::guest {
namespace {

base::Result<base::Fd> dial(std::uint32_t port) {
  base::Fd socket(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::fail(base::errno_error("open", "a vsock socket"));
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_HOST;
  address.svm_port = port;
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return base::fail(base::errno_error("dial", fmt::format("vsock port {} of the host", port)));
  CR_TRY(base::set_nonblocking(socket, true));
  return socket;
}

}  // namespace

bool has_vsock() {
  const auto device = base::open_file("/dev/vsock", O_RDONLY);
  std::uint32_t cid = VMADDR_CID_ANY;
  if (!device || ::ioctl(device->get(), IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) != 0) return false;
  return cid != VMADDR_CID_ANY && cid > VMADDR_CID_HOST;
}

base::Result<Ports> dial_vsock_ports() {
  Ports ports;
  ports.kind = PortKind::vsock;
  CR_ASSIGN(ports.control, dial(channel::kControlVsockPort));
  CR_ASSIGN(ports.network, dial(channel::kNetworkVsockPort));
  return ports;
}

}  // namespace cleanroom::guest
