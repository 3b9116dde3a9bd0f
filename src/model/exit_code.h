#pragma once
// The exit codes of cleanroom-run and cleanroom (design section 9; documented in docs/exit-codes.md, each driven by a
// test).
#include "src/base/os/result.h"

namespace cleanroom::model {

enum class ExitCode : int {
  success = 0,
  usage = 64,            // EX_USAGE: the command line
  configuration = 78,    // EX_CONFIG: policy or configuration refused; nothing was started
  time_limit = 124,      // the job's time limit
  infrastructure = 125,  // image, kernel or VM could not be had; Buildkite agents from 3.121 on retry this class
};

// A job's own status passes through; a signal n is 128+n. Never 255: Buildkite reads that as "agent stopped".
int exit_code_of_job(int exit_status, int signal);
// What an error before or around the job means for the exit code.
ExitCode exit_code_of(const base::Error& error);

}  // namespace cleanroom::model
