#include "src/base/os/temp_dir.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

namespace cleanroom::base {

Result<TempDir> TempDir::create(const std::filesystem::path& parent, std::string_view prefix) {
  std::string name = parent / (std::string(prefix) + "XXXXXX");
  if (::mkdtemp(name.data()) == nullptr) return fail(errno_error("create directory", name));
  return TempDir(name);
}

TempDir& TempDir::operator=(TempDir&& other) noexcept {
  if (this != &other) {
    remove();
    path_ = std::exchange(other.path_, {});
  }
  return *this;
}

TempDir::~TempDir() {
  remove();
}

void TempDir::remove() noexcept {
  if (path_.empty()) return;
  std::error_code ignored;  // a leftover is swept at the next start
  std::filesystem::remove_all(path_, ignored);
}

Result<void> make_private_directories(const std::filesystem::path& path) {
  std::filesystem::path so_far;
  for (const auto& part : path) {
    so_far /= part;
    if (::mkdir(so_far.c_str(), 0700) != 0 && errno != EEXIST) {
      // A parent that exists but may not be written (EACCES, EROFS) is fine as long as the next level opens.
      struct stat info {};
      if (::stat(so_far.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) continue;
      return fail(errno_error("create directory", so_far.native()));
    }
  }
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return fail(errno_error("create directory", path.native()));
  if (!S_ISDIR(info.st_mode)) return fail(errno_error("create directory", path.native(), ENOTDIR));
  return {};
}

}  // namespace cleanroom::base
