#include "guest/root_path.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>

namespace cleanroom::guest {
namespace {

constexpr int kOpenAttempts = 64;

}  // namespace

base::Result<base::Fd> open_in_root(const base::Fd& root, const std::string& path, int flags, unsigned mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: something was renamed meanwhile, and the kernel could not be sure.
  for (int attempt = 0; attempt < kOpenAttempts; ++attempt) {
    base::Fd fd(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
    if (fd) return fd;
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return base::fail(base::errno_error("open", path));
}

base::Result<base::Fd> make_directories_in_root(const base::Fd& root, std::string_view path) {
  std::string done = ".";
  CR_ASSIGN(auto directory, open_in_root(root, done, O_PATH | O_DIRECTORY));
  while (!path.empty()) {
    const auto end = path.find('/');
    const auto part = path.substr(0, end);
    path = end == std::string_view::npos ? std::string_view{} : path.substr(end + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") return base::fail(base::Code::invalid_input, "cannot make a directory: '..' in its path");
    if (::mkdirat(directory.get(), std::string(part).c_str(), 0755) != 0 && errno != EEXIST) {
      return base::fail(base::errno_error("make", done + "/" + std::string(part)));
    }
    done += "/" + std::string(part);
    CR_ASSIGN(directory, open_in_root(root, done, O_PATH | O_DIRECTORY));
  }
  return directory;
}

base::Result<void> replace_file(const base::Fd& directory, const std::string& name, std::string_view text) {
  if (::unlinkat(directory.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return base::fail(base::errno_error("replace", name));
  }
  CR_ASSIGN(const auto fd, base::open_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  if (::fchmod(fd.get(), 0644) != 0) return base::fail(base::errno_error("make readable", name));
  return base::write_all(fd, text);
}

}  // namespace cleanroom::guest
