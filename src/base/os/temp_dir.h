#pragma once
// TempDir: a fresh 0700 directory that is removed with all it holds when its owner goes.
#include "src/base/os/result.h"

#include <filesystem>

namespace cleanroom::base {

class TempDir {
 public:
  // Makes `<parent>/<prefix>XXXXXX`. `parent` must exist.
  static Result<TempDir> create(const std::filesystem::path& parent, std::string_view prefix);
  TempDir(TempDir&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TempDir& operator=(TempDir&& other) noexcept;
  ~TempDir();

  const std::filesystem::path& path() const { return path_; }
  // Keeps the directory; the caller owns it from now on.
  std::filesystem::path release() { return std::exchange(path_, {}); }

 private:
  explicit TempDir(std::filesystem::path path) : path_(std::move(path)) {}
  void remove() noexcept;
  std::filesystem::path path_;
};

// mkdir -p with 0700 for every directory it makes.
Result<void> make_private_directories(const std::filesystem::path& path);

}  // namespace cleanroom::base
