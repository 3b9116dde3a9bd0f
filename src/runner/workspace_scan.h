#pragma once
// Reading a tree nobody vouches for: directories and files by descriptor, one component at a time, never through a
// link.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/image/tree_entry.h"

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

namespace cleanroom::runner {

// O_DIRECTORY | O_NOFOLLOW below `parent`.
base::Result<base::Fd> open_child_directory(const base::Fd& parent, const std::string& name);

// O_NOFOLLOW | O_NONBLOCK, and refused (failed_precondition) unless it is a regular file: never blocks on a FIFO.
struct OpenFile {
  base::Fd fd;
  struct ::stat status {};
};
base::Result<OpenFile> open_child_file(const base::Fd& parent, const std::string& name);

// lstat(2) below `parent`.
base::Result<struct ::stat> status_of_child(const base::Fd& parent, const std::string& name);

// The names in a directory in byte order, without "." and "..". invalid_input when there are more than `max_names`.
base::Result<std::vector<std::string>> list_directory(const base::Fd& directory, std::size_t max_names);

// The target of a symlink, at most 4095 bytes.
base::Result<std::string> read_link(const base::Fd& parent, const std::string& name);

// The first `size` bytes of a file. Holes are not read from disk. A file that is shorter by now is an error.
class FileContent : public image::ContentReader {
 public:
  FileContent(base::Fd file, std::uint64_t size, std::stop_token stop)
      : file_(std::move(file)), size_(size), stop_(std::move(stop)) {}
  base::Result<std::size_t> read(std::span<std::byte> into) override;
  std::uint64_t data_bytes() const { return data_bytes_; }  // read so far, holes left out

 private:
  base::Result<void> find_data();
  base::Fd file_;
  std::uint64_t size_;
  std::stop_token stop_;
  std::uint64_t position_ = 0;
  std::uint64_t data_start_ = 0;  // [data_start_, data_end_) holds data, what is before data_start_ is a hole
  std::uint64_t data_end_ = 0;
  std::uint64_t data_bytes_ = 0;
};

class TextContent : public image::ContentReader {
 public:
  explicit TextContent(std::string text) : text_(std::move(text)) {}
  base::Result<std::size_t> read(std::span<std::byte> into) override;

 private:
  std::string text_;
  std::size_t position_ = 0;
};

}  // namespace cleanroom::runner
