#pragma once
// FileSet: the files of an OCI layout directory or of a tar archive of one, by name. Nothing is unpacked: an archive is
// indexed once and its members are read where they stand.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"
#include "src/image/tree_entry.h"

#include <filesystem>
#include <memory>
#include <string>

namespace cleanroom::image {

class FileReader : public ContentReader {
 public:
  virtual std::uint64_t size() const = 0;
};

class FileSet {
 public:
  virtual ~FileSet() = default;
  // image_invalid when there is no such file.
  virtual base::Result<std::unique_ptr<FileReader>> open(const std::string& name) const = 0;
  // All of it; more than `max_bytes` is image_limit.
  base::Result<std::string> read(const std::string& name, std::size_t max_bytes) const;
};

// image_not_found when there is no such directory or file. A compressed archive is `unsupported`, with a hint.
base::Result<std::unique_ptr<FileSet>> open_directory_set(const std::filesystem::path& directory);
base::Result<std::unique_ptr<FileSet>> open_archive_set(const std::filesystem::path& archive);

}  // namespace cleanroom::image
