#include "src/runner/output_receiver_staging.h"

#include "src/base/os/io.h"
#include "src/base/os/random.h"
#include "src/runner/output_receiver.h"
#include "src/runner/workspace_scan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::errno_error;
using base::fail;
using base::Fd;
using base::Result;

constexpr std::size_t kMaxNames = 4'000'000;  // in the checkout's root, and in a staging directory
constexpr int kCreateAttempts = 3;

// Opens a directory below `root`: no link anywhere on the way, never out of it. glibc has no openat2().
Fd open_beneath(const Fd& root, const std::string& path) {
  struct ::open_how how {};
  how.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  do {
    fd = ::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return Fd(static_cast<int>(fd));
}

// What is in the way of an entry, as opposed to what is wrong with the file system.
bool is_obstacle(int error) {
  return error == ELOOP || error == ENOTDIR || error == EXDEV || error == EACCES || error == EPERM || error == EISDIR ||
         error == EEXIST || error == ENOTEMPTY || error == EROFS || error == ENAMETOOLONG || error == EBUSY;
}

base::Failure obstacle_or_error(const std::string& path, int error) {
  if (error == ELOOP || error == ENOTDIR) {
    return fail(Code::policy_denied, "a link or a file stands where a directory of its path would be");
  }
  if (is_obstacle(error)) return fail(Code::policy_denied, errno_error("place", path, error).message);
  return fail(errno_error("place", path, error));
}

void remove_flat_directory(const Fd& parent, const Fd& directory, const std::string& name) {
  if (const auto names = list_directory(directory, kMaxNames)) {
    for (const auto& file : *names)
      ::unlinkat(directory.get(), file.c_str(), 0);
  }
  ::unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR);
}

void remove_leftovers(const Fd& checkout) {
  const auto names = list_directory(checkout, kMaxNames);
  if (!names) return;
  for (auto name = std::lower_bound(names->begin(), names->end(), std::string(kStagingPrefix));
       name != names->end() && name->starts_with(kStagingPrefix); ++name) {
    const auto directory = open_child_directory(checkout, *name);
    if (directory && ::flock(directory->get(), LOCK_EX | LOCK_NB) == 0)
      remove_flat_directory(checkout, *directory, *name);
  }
}

}  // namespace

Result<OutputStaging> OutputStaging::create(const std::filesystem::path& checkout) {
  CR_ASSIGN(Fd root, base::open_file(checkout, O_RDONLY | O_DIRECTORY));
  remove_leftovers(root);
  for (int attempt = 0; attempt < kCreateAttempts; ++attempt) {
    const std::string name = std::string(kStagingPrefix) + base::random_hex(8);
    if (::mkdirat(root.get(), name.c_str(), 0700) != 0)
      return fail(errno_error("make directory", (checkout / name).native()));
    CR_ASSIGN(Fd directory, open_child_directory(root, name));
    struct ::stat status {};
    // Another run may take it for a leftover before it is locked; then it has no links any more.
    if (::flock(directory.get(), LOCK_EX | LOCK_NB) == 0 && ::fstat(directory.get(), &status) == 0 &&
        status.st_nlink > 0) {
      return OutputStaging(std::move(root), std::move(directory), name);
    }
  }
  return fail(Code::unavailable,
              fmt::format("cannot make a staging directory in '{}': it is removed each time", checkout.native()));
}

OutputStaging::~OutputStaging() {
  if (directory_) remove_flat_directory(checkout_, directory_, name_);
}

Result<OutputStaging::StagedFile> OutputStaging::add_file() {
  StagedFile file;
  file.number = next_number_++;
  CR_ASSIGN(file.fd,
            base::open_at(directory_, std::to_string(file.number), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return file;
}

void OutputStaging::remove_file(std::uint64_t number) {
  ::unlinkat(directory_.get(), std::to_string(number).c_str(), 0);
}

Result<std::uint64_t> OutputStaging::free_bytes() const {
  struct ::statvfs status {};
  if (::fstatvfs(directory_.get(), &status) != 0) return fail(errno_error("ask for the free space of", "the checkout"));
  return std::uint64_t{status.f_bavail} * status.f_frsize;
}

// The directory `directory` ("" = the checkout) with all above it, made where missing.
Result<const Fd*> OutputStaging::open_parent(const std::string& directory) {
  if (directory.empty()) return &checkout_;
  if (parent_ && directory == parent_path_) return &parent_;
  Fd found = open_beneath(checkout_, directory);
  if (!found && errno != ENOENT) return obstacle_or_error(directory, errno);
  for (std::size_t start = 0; !found && start <= directory.size();) {
    const std::size_t end = std::min(directory.find('/', start), directory.size());
    start = end + 1;
    const std::string path = directory.substr(0, end);
    Fd next = open_beneath(checkout_, path);
    if (!next && errno == ENOENT) {
      const auto slash = path.rfind('/');
      const Fd above = slash == std::string::npos ? Fd() : open_beneath(checkout_, path.substr(0, slash));
      if (slash != std::string::npos && !above) return obstacle_or_error(directory, errno);
      const int where = above ? above.get() : checkout_.get();
      const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
      if (::mkdirat(where, name.c_str(), 0755) != 0 && errno != EEXIST) return obstacle_or_error(directory, errno);
      next = open_beneath(checkout_, path);
    }
    if (!next) return obstacle_or_error(directory, errno);
    if (end == directory.size()) found = std::move(next);
  }
  parent_ = std::move(found);
  parent_path_ = directory;
  return &parent_;
}

Result<void> OutputStaging::place_file(std::uint64_t number, const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  CR_ASSIGN(const Fd* parent, open_parent(slash == std::string::npos ? std::string() : path.substr(0, slash)));
  struct ::stat status {};
  if (::fstatat(parent->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(status.st_mode)) {
    return fail(Code::policy_denied, S_ISLNK(status.st_mode)   ? "a symbolic link of that name is in the checkout"
                                     : S_ISDIR(status.st_mode) ? "a directory of that name is in the checkout"
                                                               : "a special file of that name is in the checkout");
  }
  // Whatever appears there meanwhile: rename() replaces a name and follows nothing.
  if (::renameat(directory_.get(), std::to_string(number).c_str(), parent->get(), name.c_str()) != 0) {
    return obstacle_or_error(path, errno);
  }
  return {};
}

Result<void> OutputStaging::place_directory(const std::string& path) {
  CR_TRY(open_parent(path));
  return {};
}

}  // namespace cleanroom::runner
