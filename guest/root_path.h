#pragma once
// Opening paths of the job's root from outside of it. The kernel resolves them as if the root were "/" (openat2(2),
// RESOLVE_IN_ROOT): a symbolic link that the job planted cannot lead out, nor can a race.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <string>
#include <string_view>

namespace cleanroom::guest {

base::Result<base::Fd> open_in_root(const base::Fd& root, const std::string& path, int flags, unsigned mode = 0);
// Like mkdir -p with 0755, symbolic links followed within the root; the directory's descriptor.
base::Result<base::Fd> make_directories_in_root(const base::Fd& root, std::string_view path);
// `name` in `directory` becomes a regular file with this text, whatever it was before (a link is replaced, not
// followed).
base::Result<void> replace_file(const base::Fd& directory, const std::string& name, std::string_view text);

}  // namespace cleanroom::guest
