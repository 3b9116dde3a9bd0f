#include "src/backends/jail/high_number.h"

#include <fcntl.h>

namespace cleanroom::backends::jail {
namespace {

constexpr int kHighNumber = 400;

}  // namespace

base::Result<base::Fd> at_high_number(const base::Fd& fd) {
  base::Fd high(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kHighNumber));
  if (!high) return base::fail(base::errno_error("duplicate", "a descriptor of the VMM"));
  return high;
}

}  // namespace cleanroom::backends::jail
