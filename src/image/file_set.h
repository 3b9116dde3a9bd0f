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
  // These will be opened in this order, each once: a hint for sets that fetch.
  virtual void expect(const std::vector<std::string>& /*names*/) const {}
  // All of it; more than `max_bytes` is image_limit.
  base::Result<std::string> read(const std::string& name, std::size_t max_bytes) const;
};

// image_not_found when there is no such directory or file. A compressed archive is `unsupported`, with a hint.
base::Result<std::unique_ptr<FileSet>> open_directory_set(const std::filesystem::path& directory);
base::Result<std::unique_ptr<FileSet>> open_archive_set(const std::filesystem::path& archive);
// The same of an archive that is open for reading; `shown_as` is for errors.
base::Result<std::unique_ptr<FileSet>> open_archive_set(base::Fd archive, std::string_view shown_as);
// A single file, whole, under a name of the caller's.
base::Result<std::unique_ptr<FileSet>> open_single_set(base::Fd file, std::string name);

}  // namespace cleanroom::image
