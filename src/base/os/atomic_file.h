#pragma once
// AtomicFile: a file that appears whole or not at all. Written to a temporary name in the target's directory; commit()
// syncs the bytes, renames, and syncs the directory. The destructor without commit() removes the temporary.
// publish() is commit() without the syncs, which take milliseconds: whole for every reader, but a power cut may lose it
// or leave it empty.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <filesystem>
#include <string>
#include <string_view>

namespace cleanroom::base {

class AtomicFile {
 public:
  static Result<AtomicFile> create(std::filesystem::path target, unsigned mode = 0600);
  AtomicFile(AtomicFile&&) = default;
  AtomicFile& operator=(AtomicFile&&) = default;
  ~AtomicFile();

  const Fd& fd() const { return fd_; }
  const std::filesystem::path& temporary_path() const { return temporary_; }
  Result<void> commit();
  Result<void> publish();

 private:
  AtomicFile(Fd fd, std::filesystem::path temporary, std::filesystem::path target);
  Fd fd_;
  std::filesystem::path temporary_;
  std::filesystem::path target_;
};

Result<void> write_file_atomically(const std::filesystem::path& target, std::string_view text, unsigned mode = 0600);
// By publish(): for what only a process that is waiting for it reads.
Result<void> publish_file(const std::filesystem::path& target, std::string_view text, unsigned mode = 0600);

}  // namespace cleanroom::base
