#include "guest/disks.h"

#include "src/base/os/io.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <algorithm>
#include <filesystem>
#include <map>

namespace cleanroom::guest {

// QEMU gives each drive the serial "slot<N>", because its devices may be found in any order. Firecracker's serials are
// its own business and its devices are found in the order they were made: there the order decides.
base::Result<std::vector<std::string>> find_disks() {
  std::map<std::string, std::string> by_serial;
  std::vector<std::string> by_order;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block", error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("vd")) continue;
    by_order.push_back("/dev/" + name);
    const auto serial = base::read_file(entry.path() / "serial", 64);
    if (serial && serial->starts_with("slot")) by_serial.emplace(*serial, by_order.back());
  }
  std::sort(by_order.begin(), by_order.end());
  if (by_serial.empty()) return by_order;
  std::vector<std::string> disks;
  for (std::size_t slot = 0; slot < by_serial.size(); ++slot) {
    const auto found = by_serial.find(fmt::format("slot{}", slot));
    if (found == by_serial.end())
      return base::fail(base::Code::not_found, fmt::format("cannot find the disk of slot {}", slot));
    disks.push_back(found->second);
  }
  return disks;
}

base::Result<void> forget_content(const std::string& device) {
  CR_ASSIGN(const auto fd, base::open_file(device, O_RDONLY));
  if (::ioctl(fd.get(), BLKFLSBUF, 0) != 0) return base::fail(base::errno_error("flush", device));
  return {};
}

base::Result<void> mount_disk(const std::string& device, const base::Fd& directory, bool read_only) {
  const base::Fd context(::fsopen("ext4", FSOPEN_CLOEXEC));
  const auto set_flag = [&](const char* name) {
    return ::fsconfig(context.get(), FSCONFIG_SET_FLAG, name, nullptr, 0) == 0;
  };
  // Without both, a mount starts a kernel thread: the inode tables are zero already, and bitmaps are read when needed.
  // An older kernel may not know the second.
  (void)set_flag("noinit_itable");
  (void)set_flag("no_prefetch_block_bitmaps");
  // No disk outlives the VM, so nothing waits for the platter; "noload": a read-only image has no journal to replay.
  const bool created = ::fsconfig(context.get(), FSCONFIG_SET_STRING, "source", device.c_str(), 0) == 0 &&
                       (read_only ? set_flag("ro") && set_flag("noload") : set_flag("nobarrier")) &&
                       ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  if (!created) return base::fail(base::errno_error("mount", device));
  const unsigned attributes = MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : MOUNT_ATTR_NOATIME);
  const base::Fd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, attributes));
  if (!mount ||
      ::move_mount(mount.get(), "", directory.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return base::fail(base::errno_error("mount", device));
  return {};
}

}  // namespace cleanroom::guest
