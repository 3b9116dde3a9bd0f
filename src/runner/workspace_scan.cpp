#include "src/runner/workspace_scan.h"

#include "src/base/os/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace cleanroom::runner {

using base::Code;
using base::errno_error;
using base::fail;
using base::Fd;
using base::Result;

Result<Fd> open_child_directory(const Fd& parent, const std::string& name) {
  return base::open_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Result<OpenFile> open_child_file(const Fd& parent, const std::string& name) {
  OpenFile file;
  CR_ASSIGN(file.fd, base::open_at(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (::fstat(file.fd.get(), &file.status) != 0) return fail(errno_error("read the status of", name));
  if (!S_ISREG(file.status.st_mode)) return fail(Code::failed_precondition, "'" + name + "' is not a regular file");
  return file;
}

Result<struct ::stat> status_of_child(const Fd& parent, const std::string& name) {
  struct ::stat status {};
  if (::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail(errno_error("read the status of", name));
  }
  return status;
}

Result<std::vector<std::string>> list_directory(const Fd& directory, std::size_t max_names) {
  // A descriptor of its own: closedir() closes it, and the offset of the caller's stays where it is.
  CR_ASSIGN(Fd own, base::open_at(directory, ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(own.get()), &::closedir);
  if (stream == nullptr) return fail(errno_error("read", "directory"));
  (void)own.release();
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() == max_names) return fail(Code::invalid_input, "there are too many entries");
    names.emplace_back(name);
  }
  if (errno != 0) return fail(errno_error("read", "directory"));
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::string> read_link(const Fd& parent, const std::string& name) {
  std::string target(4096, '\0');
  const ssize_t length = ::readlinkat(parent.get(), name.c_str(), target.data(), target.size());
  if (length < 0) return fail(errno_error("read link", name));
  if (length == 0 || static_cast<std::size_t>(length) == target.size()) {
    return fail(Code::invalid_input, "cannot read link '" + name + "': its target is empty or too long");
  }
  target.resize(static_cast<std::size_t>(length));
  return target;
}

// Sets the bounds of the data at or after position_. A file system without SEEK_DATA says that all of it is data.
Result<void> FileContent::find_data() {
  const off_t data = ::lseek(file_.get(), static_cast<off_t>(position_), SEEK_DATA);
  if (data < 0 && errno != ENXIO && errno != EINVAL) return fail(errno_error("read", "file"));
  if (data < 0) {
    data_start_ = errno == ENXIO ? size_ : position_;
    data_end_ = size_;
    return {};
  }
  const off_t hole = ::lseek(file_.get(), data, SEEK_HOLE);
  if (hole < 0) return fail(errno_error("read", "file"));
  data_start_ = std::min(static_cast<std::uint64_t>(data), size_);
  data_end_ = std::min(static_cast<std::uint64_t>(hole), size_);
  return {};
}

Result<std::size_t> FileContent::read(std::span<std::byte> into) {
  if (stop_.stop_requested()) return fail(Code::cancelled, "the run was cancelled");
  if (position_ == size_ || into.empty()) return std::size_t{0};
  if (position_ >= data_end_) CR_TRY(find_data());
  if (position_ < data_start_) {
    struct ::stat status {};
    if (::fstat(file_.get(), &status) != 0) return fail(errno_error("read the status of", "file"));
    if (static_cast<std::uint64_t>(status.st_size) < size_) {
      return fail(Code::unavailable, "the file became shorter while it was read");
    }
    const std::size_t zeros = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), data_start_ - position_));
    std::memset(into.data(), 0, zeros);
    position_ += zeros;
    return zeros;
  }
  const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), data_end_ - position_));
  ssize_t got = 0;
  do {
    got = ::pread(file_.get(), into.data(), wanted, static_cast<off_t>(position_));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail(errno_error("read", "file"));
  if (got == 0) return fail(Code::unavailable, "the file became shorter while it was read");
  position_ += static_cast<std::uint64_t>(got);
  data_bytes_ += static_cast<std::uint64_t>(got);
  return static_cast<std::size_t>(got);
}

Result<std::size_t> TextContent::read(std::span<std::byte> into) {
  const std::size_t length = std::min(into.size(), text_.size() - position_);
  std::memcpy(into.data(), text_.data() + position_, length);
  position_ += length;
  return length;
}

}  // namespace cleanroom::runner
