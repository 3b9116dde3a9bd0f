#pragma once
// The machine's disks: which device is which slot, and mounting them.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <string>
#include <vector>

namespace cleanroom::guest {

// Device names, by slot.
base::Result<std::vector<std::string>> find_disks();

// What the kernel has read of it may not be believed after a snapshot: the disk is another then.
base::Result<void> forget_content(const std::string& device);

// An ext4 disk, on a directory given by descriptor (O_PATH): its path was followed within the job's root, and nothing
// is looked up again.
base::Result<void> mount_disk(const std::string& device, const base::Fd& directory, bool read_only);

}  // namespace cleanroom::guest
