#pragma once
// BuildLock: who may build an image of one digest, among processes: flock on <root>/.<hex>.lock. The kernel drops it
// when its holder dies; a holder that ends removes the file, so that none stays behind.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>

namespace cleanroom::image {

class BuildLock {
 public:
  // Waits for an hour at most (timeout), or for `stop` (cancelled).
  static base::Result<BuildLock> take(const std::filesystem::path& root, const std::string& hex,
                                      const std::stop_token& stop);
  // nullopt: somebody holds it.
  static base::Result<std::optional<BuildLock>> try_take(const std::filesystem::path& root, const std::string& hex);
  BuildLock(BuildLock&&) = default;
  BuildLock& operator=(BuildLock&&) = delete;
  ~BuildLock();

 private:
  BuildLock(base::Fd fd, std::filesystem::path path) : fd_(std::move(fd)), path_(std::move(path)) {}
  base::Fd fd_;
  std::filesystem::path path_;
};

}  // namespace cleanroom::image
