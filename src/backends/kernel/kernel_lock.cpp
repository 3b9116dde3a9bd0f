#include "src/backends/kernel/kernel_lock.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>

#include <cerrno>

namespace cleanroom::backends {

using base::Code;
using base::Result;

namespace {
constexpr int kPollMilliseconds = 50;  // flock() has no timeout of its own
}

Result<KernelLock> KernelLock::take(const std::filesystem::path& file, base::Deadline deadline,
                                    const base::Fd* interrupt) {
  CR_ASSIGN(base::Fd fd, base::open_file(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  for (;;) {
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return KernelLock(std::move(fd));
    if (errno != EWOULDBLOCK && errno != EINTR) return base::fail(base::errno_error("lock", file.native()));
    if (base::time_left(deadline).count() == 0)
      return base::fail(Code::timeout, fmt::format("cannot lock '{}': another process holds it", file.native()));
    pollfd entry{interrupt != nullptr ? interrupt->get() : -1, POLLIN, 0};
    if (::poll(&entry, 1, kPollMilliseconds) > 0)
      return base::fail(Code::cancelled, "cancelled while another process works on a kernel");
  }
}

}  // namespace cleanroom::backends
