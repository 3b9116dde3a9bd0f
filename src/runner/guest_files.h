#pragma once
// What a job needs as files besides its checkout: a command too long for execve(2), git's configuration.
#include "src/runner/default_command.h"

#include <vector>

namespace cleanroom::runner {

// A pax tar with the files and their directories (0755), relative to "/".
base::Result<std::vector<std::byte>> guest_files_tar(const std::vector<GuestFile>& files);

}  // namespace cleanroom::runner
