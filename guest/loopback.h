#pragma once
// The guest's only network interface: lo, with an address that does not look like loopback, and ranges that are local.
// "Local" makes the kernel deliver to this machine whatever is dialled in the range (AnyIP, design section 3).
#include "guest/name_table.h"
#include "src/base/os/result.h"

namespace cleanroom::guest {

// lo up, 198.18.0.1/32 on it, 198.18.0.0/15 local.
base::Result<void> bring_up_loopback();
base::Result<void> add_local_route(const Ipv4Network& network);

}  // namespace cleanroom::guest
