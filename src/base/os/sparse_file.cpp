#include "src/base/os/sparse_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace cleanroom::base {

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
    off_t in = static_cast<off_t>(run.begin);
    off_t out = in;
    while (static_cast<std::uint64_t>(in) < run.end) {
      const ssize_t n = ::copy_file_range(from.get(), &in, to.get(), &out, run.end - static_cast<std::uint64_t>(in), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return fail(errno_error("copy", "a sparse file", n == 0 ? EIO : errno));  // it became shorter
    }
    offset = run.end;
  }
  return {};
}

}  // namespace cleanroom::base
