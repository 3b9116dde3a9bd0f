#pragma once
// Numbers of descriptors that a child is to use before its exec.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

namespace cleanroom::backends::jail {

// A copy whose number is above those that a child is given: it is still there when the child looks for it, and closes
// at exec.
base::Result<base::Fd> at_high_number(const base::Fd& fd);

// Makes this process's table of descriptors as large as that takes. In a process with threads the kernel waits for an
// RCU grace period when it grows one, some 10 ms: this is for before there are any. Best effort.
void reserve_high_numbers();

}  // namespace cleanroom::backends::jail
