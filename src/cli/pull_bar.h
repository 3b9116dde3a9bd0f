#pragma once
// PullBar: the progress of a pull on a terminal, one line that is drawn anew.
#include "src/base/os/clock.h"
#include "src/registry/registry_files.h"

#include <mutex>
#include <string>

namespace cleanroom::cli {

class PullBar final : public registry::PullProgress {
 public:
  // Draws on stderr.
  explicit PullBar(std::string image) : image_(std::move(image)) {}
  // Leaves the last state on a line of its own.
  ~PullBar() override;
  void begin(std::uint64_t bytes, std::size_t layers, std::size_t shared) override;
  void received(std::uint64_t bytes) override;

 private:
  void draw();
  const std::string image_;
  std::mutex mutex_;
  std::uint64_t total_ = 0;
  std::uint64_t received_ = 0;
  bool begun_ = false;
  base::SteadyClock::time_point began_;
  base::SteadyClock::time_point drawn_;
};

}  // namespace cleanroom::cli
