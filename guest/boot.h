#pragma once
// The machine from the kernel's hand-over to READY, and what START changes in it.
#include "src/base/os/clock.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/channel/handshake.h"

#include <chrono>

namespace cleanroom::guest {

// /proc, /sys, /dev, the console as 0-2.
base::Result<void> mount_early();
// Of a VM that is to be saved: restored ones will start from here.
bool is_template();
// Every module of /modules/load-order. One that fails is told on the console; what needs it fails later, by name.
void load_modules();

enum class PortKind { virtio_serial, vsock };
struct Ports {
  PortKind kind = PortKind::virtio_serial;
  base::Fd control;
  base::Fd network;
};
// Waits for the two virtio-serial ports by name, or for a vsock device with a host that takes both connections:
// whichever this machine has.
base::Result<Ports> open_ports(base::Deadline deadline);

// Says READY, waits for START. There is no deadline for it: the host kills a VM that is late. A memory snapshot may be
// taken in that wait. Vsock connections do not survive it: `ports` are dialled again, within `port_time`, and READY is
// said again.
base::Result<channel::StartRecord> meet_host(Ports& ports, std::chrono::milliseconds port_time);

// Entropy first, then clock and hostname. Before anything of the job runs.
base::Result<void> apply_identity(const channel::StartRecord& start);

// A line on the console.
void tell(std::string_view text);
// Ends the VM at once. Nothing is synced: no disk of a VM outlives it.
[[noreturn]] void power_off();

}  // namespace cleanroom::guest
