#include "src/base/os/sparse_file.h"

#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace cleanroom::base {

namespace {

// Between two file systems copy_file_range(2) fails; sendfile(2) does it, and writes where the file's position is.
ssize_t copy_some(const Fd& from, const Fd& to, std::uint64_t offset, std::size_t size) {
  off_t in = static_cast<off_t>(offset);
  off_t out = in;
  const ssize_t n = ::copy_file_range(from.get(), &in, to.get(), &out, size, 0);
  if (n >= 0 || (errno != EXDEV && errno != EOPNOTSUPP)) return n;
  if (::lseek(to.get(), out, SEEK_SET) < 0) return -1;
  return ::sendfile(to.get(), from.get(), &in, size);
}

}  // namespace

Result<DataRun> next_data_run(const Fd& file, std::uint64_t from, std::uint64_t size) {
  const off_t data = ::lseek(file.get(), static_cast<off_t>(from), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return DataRun{size, size};
  const off_t hole = data < 0 ? data : ::lseek(file.get(), data, SEEK_HOLE);
  if (hole < 0) return fail(errno_error("search", "a sparse file"));
  return DataRun{static_cast<std::uint64_t>(data), static_cast<std::uint64_t>(hole)};
}

Result<void> copy_sparse(const Fd& from, const Fd& to) {
  struct stat status {};
  if (::fstat(from.get(), &status) != 0) return fail(errno_error("look at", "a sparse file"));
  if (::ftruncate(to.get(), status.st_size) != 0) return fail(errno_error("size", "a copy"));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  for (std::uint64_t offset = 0; offset < size;) {
    CR_ASSIGN(const auto run, next_data_run(from, offset, size));
    for (offset = run.begin; offset < run.end;) {
      const ssize_t n = copy_some(from, to, offset, run.end - offset);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return fail(errno_error("copy", "a sparse file", n == 0 ? EIO : errno));  // it became shorter
      offset += static_cast<std::uint64_t>(n);
    }
    offset = run.end;
  }
  return {};
}

}  // namespace cleanroom::base
