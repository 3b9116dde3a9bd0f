#pragma once
// The two streams as vsock connections, for a VMM that has no virtio-serial (Firecracker). The guest dials: the host's
// listeners are there before the machine runs, so nobody polls, and a restored machine dials again as soon as its
// kernel has dropped the connections of the machine that was saved. The agent listens on nothing. vsock(7);
// virtio 1.2, 5.10.6.7 (transport reset)
#include "guest/boot.h"

namespace cleanroom::guest {

// Whether this machine has a vsock device whose driver is up.
bool has_vsock();
// One attempt, which the kernel bounds to two seconds. Fails while the host refuses or the driver starts.
base::Result<Ports> dial_vsock_ports();

}  // namespace cleanroom::guest
