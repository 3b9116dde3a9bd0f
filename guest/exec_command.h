#pragma once
#include "src/channel/messages.h"

#include <functional>
#include <string>

namespace cleanroom::guest {

// Turns this process, which stands in the job's root with its streams at 0-2, into the command: user, limits, session,
// terminal; `wait_for_disks`, which may block; directory, exec. Users are the image's, also where a disk is to hide its
// /etc. Returns only when that failed; os_errno is ENOENT when no program was found.
base::Error become_command(const channel::ExecRequest& request,
                           const std::function<base::Result<void>()>& wait_for_disks);

// Path of a program as execvp(3) finds it. not_found (ENOENT), or failed_precondition (EACCES) when what is there is
// not executable.
base::Result<std::string> find_command(const std::string& program, const std::string& path_variable);

}  // namespace cleanroom::guest
