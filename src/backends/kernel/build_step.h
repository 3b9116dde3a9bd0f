#pragma once
// BuildStep: one program of a kernel build, run to its end, with its output in a log file. The whole process group ends
// with the step: a make that is told to stop takes its compilers along.
#include "src/base/os/clock.h"
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <filesystem>
#include <string>
#include <vector>

namespace cleanroom::backends {

struct BuildStep {
  std::string what;               // for the error: "configure the kernel"
  std::vector<std::string> argv;  // argv[0] is looked up in `path`
  std::vector<std::string> environment;
  std::filesystem::path working_directory;
};

struct BuildContext {
  std::string path;                     // directories to look for programs in
  std::filesystem::path log;            // appended to
  const base::Fd* interrupt = nullptr;  // becomes readable: give up (cancelled); borrowed, may be null
  base::Deadline deadline;              // of the whole build
  int niceness = 0;                     // added to this process's own, see nice(1)
};

// kernel_build_failed with the last lines of its output; cancelled; timeout. Blocks.
base::Result<void> run_step(const BuildStep& step, const BuildContext& context);

// First line of what `program --version` prints. Blocks.
base::Result<std::string> program_version(const std::string& program, const BuildContext& context);

}  // namespace cleanroom::backends
