#pragma once
// The machine from the kernel's hand-over to READY, and what START changes in it.
#include "src/base/os/clock.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/channel/handshake.h"

namespace cleanroom::guest {

// /proc, /sys, /dev, the console as 0-2.
base::Result<void> mount_early();
// Every module of /modules/load-order. One that fails is told on the console; what needs it fails later, by name.
void load_modules();

struct Ports {
  base::Fd control;
  base::Fd network;
};
// Waits for the two virtio-serial ports by name.
base::Result<Ports> open_ports(base::Deadline deadline);

// Non-blocking descriptor, no deadline of its own: the host kills a VM that is late. Waits for the host to connect.
base::Result<void> send_ready(const base::Fd& control);
base::Result<channel::StartRecord> receive_start(const base::Fd& control);

// Entropy first, then clock and hostname.
base::Result<void> apply_identity(const channel::StartRecord& start);

// A line on the console.
void tell(std::string_view text);
// Ends the VM at once. Nothing is synced: no disk of a VM outlives it.
[[noreturn]] void power_off();

}  // namespace cleanroom::guest
