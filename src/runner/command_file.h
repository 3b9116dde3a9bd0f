#pragma once
// A command too long for execve(2) travels as a file: the tar that puts it into the guest.
#include "src/runner/default_command.h"

#include <vector>

namespace cleanroom::runner {

// A pax tar with the file's directories (0755) and the file, relative to "/".
base::Result<std::vector<std::byte>> command_file_tar(const CommandPlan::GuestFile& file);

}  // namespace cleanroom::runner
