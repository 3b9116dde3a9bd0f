#pragma once
// A list of system calls as the kernel's filter program (seccomp(2)). A call outside the list kills the process with
// SIGSYS. The list is by name: one that this libseccomp does not know is an error, one that this architecture does not
// have is left out.
#include "src/base/os/result.h"

#include <linux/filter.h>

#include <cstdint>
#include <string>
#include <vector>

namespace cleanroom::backends::jail {

// Allowed when argument number `argument`, masked, is `value`. Several of one name: any of them.
struct ConditionalCall {
  std::string name;
  unsigned argument = 0;
  std::uint64_t mask = ~std::uint64_t{0};
  std::uint64_t value = 0;
};

// Names from words.
std::vector<std::string> call_names(const std::string& words);
// clone() that makes a thread, and no namespace.
ConditionalCall clone_of_threads();

// With one value of an argument that the call takes 32 bits of, where a filter sees 64.
ConditionalCall call_with(const char* name, unsigned argument, int value);

struct SeccompProfile {
  std::vector<std::string> allowed;
  std::vector<ConditionalCall> conditional;
  std::vector<std::string> refused;  // EPERM: what a program tries at its start and does without
  // Not made, and answered with 0 as if they had been: for openat() that is descriptor 0, whatever was to be opened.
  // No condition of `conditional` may hold for the same call.
  std::vector<ConditionalCall> answered_with_zero;
  std::vector<std::string> unknown;  // ENOSYS: as on a kernel without them
};

class SeccompProgram {
 public:
  // Adds what every jailed program needs to be started: execveat() of ChildSetup::kProgramFd, which no descriptor has
  // once the program runs. Some milliseconds at most.
  static base::Result<SeccompProgram> compile(const SeccompProfile& profile);
  // Installs it for the calling thread; async-signal-safe. False: errno says why.
  bool install() const noexcept;

 private:
  explicit SeccompProgram(std::vector<sock_filter> code) : code_(std::move(code)) {}
  std::vector<sock_filter> code_;
};

}  // namespace cleanroom::backends::jail
