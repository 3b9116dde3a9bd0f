#pragma once
// PullLines: the progress of a pull as lines for a log: one at the start, then one every ten seconds.
#include "src/base/os/clock.h"
#include "src/registry/registry_files.h"

#include <functional>
#include <mutex>
#include <string>

namespace cleanroom::registry {

class PullLines final : public PullProgress {
 public:
  // `line` is called from threads of the pull, one at a time.
  PullLines(std::string image, std::function<void(std::string)> line)
      : image_(std::move(image)), line_(std::move(line)) {}
  void begin(std::uint64_t bytes, std::size_t layers, std::size_t shared) override;
  void received(std::uint64_t bytes) override;

 private:
  const std::string image_;
  const std::function<void(std::string)> line_;
  std::mutex mutex_;
  std::uint64_t total_ = 0;
  std::uint64_t received_ = 0;
  base::SteadyClock::time_point began_;
  base::SteadyClock::time_point said_;
};

// "340.2 MiB"; "812 KiB" below one.
std::string show_bytes(std::uint64_t bytes);
// "340.2 MiB in 4 layers, 2 more are here already"
std::string describe_pull(std::uint64_t bytes, std::size_t layers, std::size_t shared);

}  // namespace cleanroom::registry
