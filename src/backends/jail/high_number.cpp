#include "src/backends/jail/high_number.h"

#include <fcntl.h>
#include <unistd.h>

namespace cleanroom::backends::jail {
namespace {

constexpr int kHighNumber = 400;

}  // namespace

base::Result<base::Fd> at_high_number(const base::Fd& fd) {
  base::Fd high(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kHighNumber));
  if (!high) return base::fail(base::errno_error("duplicate", "a descriptor of the VMM"));
  return high;
}

void reserve_high_numbers() {
  const base::Fd there_and_gone(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, kHighNumber));
}

}  // namespace cleanroom::backends::jail
