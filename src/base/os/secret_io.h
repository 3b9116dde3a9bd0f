#pragma once
// Reading secrets: from a descriptor and from a program's output, through buffers that are wiped; and keeping them out
// of core files. All of it blocks.
#include "src/base/os/fd.h"
#include "src/base/os/process.h"
#include "src/base/os/secret.h"

#include <cstddef>
#include <string_view>

namespace cleanroom::base {

// To the end of the file. invalid_input when it is longer than `max_bytes`; `name` is for the message.
Result<Secret> read_secret(const Fd& fd, std::string_view name, std::size_t max_bytes);

struct SecretOutput {
  ExitStatus status;
  Secret output;  // standard output
};
// Runs a program to its end with `input` (at most kMaxSecretProgramInput bytes) as its standard input; what it writes
// to standard error goes to /dev/null. Output beyond `max_bytes` is invalid_input, running on at the deadline is
// timeout, and either kills it. Descendants that keep its output open are not waited for. The environment given
// may hold secrets and is wiped.
Result<SecretOutput> run_for_secret(SpawnOptions options, std::string_view input, Deadline deadline,
                                    std::size_t max_bytes);
inline constexpr std::size_t kMaxSecretProgramInput = 4096;  // fits a pipe: written before the program runs

// From now on no core file of this process, and no ptrace(2) or /proc/PID/mem for other processes of the same user:
// RLIMIT_CORE 0 (also what children inherit) and PR_SET_DUMPABLE 0 (which also stops a core_pattern program; execve
// lifts it in a child). What stays possible: this process's own /proc/self/exe, fd/ and maps, read from inside. What
// does not, unless it is root: /proc/self/{environ,oom_score_adj,uid_map}, whose owner is now root, and other
// processes' look into /proc/PID/{fd,exe,maps}. Threads and children that were there before keep their rights as usual.
Result<void> forbid_core_dumps();

}  // namespace cleanroom::base
