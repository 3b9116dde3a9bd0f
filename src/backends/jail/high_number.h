#pragma once
// Numbers of descriptors that a child is to use before its exec.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

namespace cleanroom::backends::jail {

// A copy whose number is above those that a child is given: it is still there when the child looks for it, and closes
// at exec.
base::Result<base::Fd> at_high_number(const base::Fd& fd);

}  // namespace cleanroom::backends::jail
