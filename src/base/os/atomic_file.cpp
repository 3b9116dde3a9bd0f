#include "src/base/os/atomic_file.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

namespace cleanroom::base {

AtomicFile::AtomicFile(Fd fd, std::filesystem::path temporary, std::filesystem::path target)
    : fd_(std::move(fd)), temporary_(std::move(temporary)), target_(std::move(target)) {}

Result<AtomicFile> AtomicFile::create(std::filesystem::path target, unsigned mode) {
  std::string name = target.parent_path() / ("." + target.filename().native() + ".XXXXXX");
  Fd fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return fail(errno_error("create", name));
  AtomicFile file(std::move(fd), name, std::move(target));
  if (::fchmod(file.fd_.get(), mode) != 0) return fail(errno_error("set mode of", name));
  return file;
}

AtomicFile::~AtomicFile() {
  if (fd_) ::unlink(temporary_.c_str());
}

Result<void> AtomicFile::publish() {
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) return fail(errno_error("rename to", target_.native()));
  fd_.reset();
  return {};
}

Result<void> AtomicFile::commit() {
  if (::fsync(fd_.get()) != 0) return fail(errno_error("sync", temporary_.native()));
  CR_TRY(publish());
  const auto parent = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
  CR_ASSIGN(const Fd directory, open_file(parent, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.get()) != 0) return fail(errno_error("sync", parent.native()));
  return {};
}

Result<void> write_file_atomically(const std::filesystem::path& target, std::string_view text, unsigned mode) {
  CR_ASSIGN(auto file, AtomicFile::create(target, mode));
  CR_TRY(write_all(file.fd(), text));
  return file.commit();
}

Result<void> publish_file(const std::filesystem::path& target, std::string_view text, unsigned mode) {
  CR_ASSIGN(auto file, AtomicFile::create(target, mode));
  CR_TRY(write_all(file.fd(), text));
  return file.publish();
}

}  // namespace cleanroom::base
