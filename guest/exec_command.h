#pragma once
#include "src/channel/messages.h"

#include <string>

namespace cleanroom::guest {

// Turns this process, which stands in the job's root with its streams at 0-2, into the command: user, limits, session,
// terminal, directory, exec. Returns only when that failed; os_errno is ENOENT when no program was found.
base::Error become_command(const channel::ExecRequest& request);

// Path of a program as execvp(3) finds it. not_found (ENOENT), or failed_precondition (EACCES) when what is there is
// not executable.
base::Result<std::string> find_command(const std::string& program, const std::string& path_variable);

}  // namespace cleanroom::guest
