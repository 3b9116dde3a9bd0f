#include "src/backends/kernel/bundled_files.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"

namespace cleanroom::backends {

base::Result<void> unpack_bundled_scripts(const std::filesystem::path& directory) {
  for (const auto& script : bundled_scripts()) {
    const auto path = directory / script.path;
    CR_TRY(base::make_private_directories(path.parent_path()));
    CR_TRY(base::write_file_atomically(path, script.text, 0700));
  }
  return {};
}

}  // namespace cleanroom::backends
