#pragma once
// DiskMounter: mounts START's disks in a process of its own, made before READY. To the kernel a mount is a long way;
// meanwhile the agent meets the host, on another processor where there is one.
#include "guest/job_root.h"
#include "guest/loop.h"

#include <functional>
#include <vector>

namespace cleanroom::guest {

class DiskMounter {
 public:
  // Forks the process, which has `root` as it is now.
  static base::Result<DiskMounter> prepare(const JobRoot& root);

  // Once. Blocks for a write to a pipe that is being read.
  base::Result<void> begin(const std::vector<channel::DiskMount>& mounts);
  // `on_end` runs once, when all are mounted or with the reason why not. This lives until then.
  void watch(Loop& loop, std::function<void(base::Result<void>)> on_end);

 private:
  DiskMounter(base::Fd orders, base::Fd report) : orders_(std::move(orders)), report_(std::move(report)) {}
  base::Fd orders_;
  base::Fd report_;  // an error's text, or nothing; closed at the end
};

// The mounts as bytes, and back.
std::string encode_mounts(const std::vector<channel::DiskMount>& mounts);
base::Result<std::vector<channel::DiskMount>> decode_mounts(std::string_view bytes);

}  // namespace cleanroom::guest
