#include "src/image/build_lock.h"

#include "src/base/os/clock.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace cleanroom::image {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr std::chrono::minutes kBuildTimeout{60};  // of another process that builds the same image
constexpr int kPollMilliseconds = 50;

// A file that its last holder removed meanwhile locks nothing.
bool has_name(const base::Fd& fd, const std::filesystem::path& path) {
  struct stat held {};
  struct stat named {};
  return ::fstat(fd.get(), &held) == 0 && ::lstat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

}  // namespace

Result<std::optional<BuildLock>> BuildLock::try_take(const std::filesystem::path& root, const std::string& hex) {
  auto path = root / ("." + hex + ".lock");
  CR_ASSIGN(base::Fd fd, base::open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK || errno == EINTR) return std::nullopt;
    return fail(base::errno_error("lock", path.native()));
  }
  if (!has_name(fd, path)) return std::nullopt;
  return std::optional<BuildLock>(BuildLock(std::move(fd), std::move(path)));
}

Result<BuildLock> BuildLock::take(const std::filesystem::path& root, const std::string& hex,
                                  const std::stop_token& stop) {
  const base::Deadline deadline = base::deadline_in(kBuildTimeout);
  for (;;) {
    CR_ASSIGN(auto lock, try_take(root, hex));
    if (lock) return std::move(*lock);
    if (stop.stop_requested())
      return fail(Code::cancelled, "cancelled", "cancelled while another process builds this image");
    if (base::time_left(deadline).count() == 0)
      return fail(Code::timeout, "another process has been building this image for an hour");
    // flock() has no timeout of its own.
    ::poll(nullptr, 0, kPollMilliseconds);
  }
}

BuildLock::~BuildLock() {
  if (fd_) ::unlink(path_.c_str());  // while it is held: see has_name()
}

}  // namespace cleanroom::image
