#pragma once
// The staging directory of returned files, and the one way from there into the checkout.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace cleanroom::runner {

// A private, flat directory in the checkout: files have numbers for names. Locked while it is in use, removed with all
// it holds by the destructor. create() removes those that nobody holds a lock on.
class OutputStaging {
 public:
  static base::Result<OutputStaging> create(const std::filesystem::path& checkout);
  OutputStaging(OutputStaging&&) = default;
  OutputStaging& operator=(OutputStaging&&) = delete;
  ~OutputStaging();

  // A new, empty file 0600, and the number it goes by.
  struct StagedFile {
    base::Fd fd;
    std::uint64_t number = 0;
  };
  base::Result<StagedFile> add_file();
  void remove_file(std::uint64_t number);
  // Free for this user on the checkout's file system.
  base::Result<std::uint64_t> free_bytes() const;

  // Moves a staged file to `path` (judged before: judge_output_name); makes directories on the way. policy_denied when
  // something in the checkout is in the way (a link, a directory, no permission): its message is the cause alone.
  // Any other error is the file system's.
  base::Result<void> place_file(std::uint64_t number, const std::string& path);
  // Makes a directory, unless there is one.
  base::Result<void> place_directory(const std::string& path);

 private:
  OutputStaging(base::Fd checkout, base::Fd directory, std::string name)
      : checkout_(std::move(checkout)), directory_(std::move(directory)), name_(std::move(name)) {}
  base::Result<const base::Fd*> open_parent(const std::string& directory);

  base::Fd checkout_;
  base::Fd directory_;  // holds the lock
  std::string name_;
  std::uint64_t next_number_ = 0;
  base::Fd parent_;  // the directory opened last, and its path: files come sorted
  std::string parent_path_;
};

}  // namespace cleanroom::runner
