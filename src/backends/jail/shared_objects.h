#pragma once
// What an ELF program needs of the file system to be started: its loader and its libraries.
#include "src/base/os/result.h"

#include <filesystem>
#include <vector>

namespace cleanroom::backends::jail {

// Absolute paths, under which the loader opens them; nothing for a static program. Asks the program's own loader
// (`ld.so --list`), which blocks for some 20 ms, and keeps the answer in `cache_directory` (empty: nowhere) for as long
// as the program, and the loader's cache, are the same. failed_precondition: no ELF program, or a library is missing.
base::Result<std::vector<std::filesystem::path>> shared_objects_of(const std::filesystem::path& program,
                                                                   const std::filesystem::path& cache_directory);

// The loader's index of libraries, which it opens too; libraries outside its built-in directories are found there only.
inline constexpr const char* kLoaderCache = "/etc/ld.so.cache";

}  // namespace cleanroom::backends::jail
