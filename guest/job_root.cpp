#include "guest/job_root.h"

#include "guest/exec_init.h"
#include "guest/name_table.h"
#include "guest/root_path.h"
#include "src/base/os/io.h"
#include "src/base/os/random.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>

namespace cleanroom::guest {
namespace {

constexpr const char* kImage = "/image";
constexpr const char* kScratch = "/scratch";
// What every job's root has is made here, and moved into it.
constexpr const char* kStagedDevices = "/staged-dev";
constexpr const char* kStagedSys = "/staged-sys";
constexpr std::uint8_t kImageSlot = 0;

struct MountOptions {
  const char* type = "";
  std::string source;
  std::string target;
  unsigned long flags = 0;
  std::string data;
};

base::Result<void> mount_with(const MountOptions& options) {
  const char* source = options.source.empty() ? options.type : options.source.c_str();
  if (::mount(source, options.target.c_str(), options.type, options.flags, options.data.c_str()) != 0) {
    return base::fail(base::errno_error("mount", fmt::format("{} at {}", source, options.target)));
  }
  return {};
}

base::Result<void> make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return base::fail(base::errno_error("make", path));
  return {};
}

// QEMU gives each drive the serial "slot<N>", because its devices may be found in any order. Firecracker's serials are
// its own business and its devices are found in the order they were made: there the order decides.
base::Result<std::string> find_disk(std::uint8_t slot) {
  const std::string wanted = fmt::format("slot{}", slot);
  bool has_serials = false;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block", error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("vd")) continue;
    const auto serial = base::read_file(entry.path() / "serial", 64);
    if (!serial || !serial->starts_with("slot")) continue;
    has_serials = true;
    if (*serial == wanted) return "/dev/" + name;
  }
  const auto by_order = fmt::format("/dev/vd{}", static_cast<char>('a' + slot % 26));
  if (has_serials || ::access(by_order.c_str(), F_OK) != 0) {
    return base::fail(base::Code::not_found, fmt::format("cannot find the disk of slot {}", slot));
  }
  return by_order;
}

base::Result<void> mount_disk(std::uint8_t slot, const std::string& target, bool read_only) {
  CR_ASSIGN(const auto device, find_disk(slot));
  // The file behind it may have changed since a snapshot: nothing cached from then may be believed.
  CR_ASSIGN(const auto fd, base::open_file(device, O_RDONLY));
  if (::ioctl(fd.get(), BLKFLSBUF, 0) != 0) return base::fail(base::errno_error("flush", device));
  // No disk outlives the VM, so nothing waits for the platter; "noload": a read-only image has no journal to replay.
  return mount_with({.type = "ext4",
                     .source = device,
                     .target = target,
                     .flags = MS_NODEV | (read_only ? std::uint64_t{MS_RDONLY} : std::uint64_t{MS_NOATIME}),
                     .data = read_only ? "noload" : "barrier=0"});
}

bool is_mounted(const char* directory) {
  struct stat inside {};
  struct stat outside {};
  return ::stat(directory, &inside) == 0 && ::stat("/", &outside) == 0 && inside.st_dev != outside.st_dev;
}

base::Result<void> move_mount(const char* from, const std::string& to) {
  if (::mount(from, to.c_str(), nullptr, MS_MOVE, nullptr) != 0) return base::fail(base::errno_error("move", to));
  return {};
}

base::Result<void> mount_overlay(const channel::StartRecord& start) {
  for (const auto* directory : {kImage, kScratch, kJobRoot})
    CR_TRY(make_directory(directory, 0700));
  // The image was mounted before READY where it could be: a template is of one image, and nobody writes it.
  if (start.rootfs_slot != kImageSlot || !is_mounted(kImage)) CR_TRY(mount_disk(start.rootfs_slot, kImage, true));
  CR_TRY(mount_disk(start.scratch_slot, kScratch, false));
  const std::string upper = std::string(kScratch) + "/upper";
  const std::string work = std::string(kScratch) + "/work";
  CR_TRY(make_directory(upper, 0755));
  CR_TRY(make_directory(work, 0700));
  // The attributes of "/" are those of the upper directory.
  struct stat top {};
  if (::stat(kImage, &top) != 0 || ::chown(upper.c_str(), top.st_uid, top.st_gid) != 0 ||
      ::chmod(upper.c_str(), top.st_mode & 07777) != 0) {
    return base::fail(base::errno_error("prepare", upper));
  }
  return mount_with({.type = "overlay",
                     .target = kJobRoot,
                     .flags = 0,
                     .data = fmt::format("lowerdir={},upperdir={},workdir={},volatile", kImage, upper, work)});
}

// Directories that everything expects, also in an image that holds a single binary.
base::Result<void> make_directories(const base::Fd& root) {
  for (const auto* path : {"dev", "proc", "sys", "run", "etc", "tmp"})
    CR_TRY(make_directories_in_root(root, path));
  CR_ASSIGN(const auto temporary, open_in_root(root, "tmp", O_PATH | O_DIRECTORY));
  if (::chmod(fmt::format("/proc/self/fd/{}", temporary.get()).c_str(), 01777) != 0) {
    return base::fail(base::errno_error("open to all", "/tmp"));
  }
  return {};
}

struct Node {
  const char* name;
  unsigned minor;
  unsigned major;
};

base::Result<void> make_devices() {
  const std::string dev = kStagedDevices;
  CR_TRY(make_directory(dev, 0700));
  CR_TRY(mount_with({.type = "tmpfs", .target = dev, .flags = MS_NOSUID | MS_NOEXEC, .data = "mode=755,size=1m"}));
  constexpr Node kNodes[] = {{"null", 3, 1}, {"zero", 5, 1},   {"full", 7, 1},
                             {"tty", 0, 5},  {"random", 8, 1}, {"urandom", 9, 1}};
  const mode_t mask = ::umask(0);
  for (const auto& node : kNodes) {
    if (::mknod((dev + "/" + node.name).c_str(), S_IFCHR | 0666, makedev(node.major, node.minor)) != 0) {
      return base::fail(base::errno_error("make", node.name));
    }
  }
  ::umask(mask);
  constexpr std::pair<const char*, const char*> kLinks[] = {{"fd", "/proc/self/fd"},
                                                            {"stdin", "/proc/self/fd/0"},
                                                            {"stdout", "/proc/self/fd/1"},
                                                            {"stderr", "/proc/self/fd/2"},
                                                            {"ptmx", "pts/ptmx"}};
  for (const auto& [name, target] : kLinks) {
    if (::symlink(target, (dev + "/" + name).c_str()) != 0) return base::fail(base::errno_error("make", name));
  }
  for (const auto* name : {"pts", "shm", "mqueue"})
    CR_TRY(make_directory(dev + "/" + name, 0755));
  CR_TRY(mount_with({.type = "devpts",
                     .target = dev + "/pts",
                     .flags = MS_NOSUID | MS_NOEXEC,
                     .data = "newinstance,ptmxmode=0666,mode=620,gid=5"}));
  CR_TRY(mount_with({.type = "tmpfs", .target = dev + "/shm", .flags = MS_NOSUID | MS_NODEV, .data = "mode=1777"}));
  // Not every kernel has POSIX message queues.
  if (auto queues = mount_with({.type = "mqueue", .target = dev + "/mqueue"}); !queues && errno != ENODEV)
    return queues;
  return {};
}

base::Result<void> write_identity(const base::Fd& root, const std::string& hostname) {
  CR_ASSIGN(const auto etc, open_in_root(root, "etc", O_RDONLY | O_DIRECTORY));
  CR_TRY(replace_file(etc, "hostname", hostname + "\n"));
  CR_TRY(replace_file(
      etc, "hosts",
      fmt::format("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{}\n", hostname)));
  CR_TRY(replace_file(etc, "resolv.conf", fmt::format("nameserver {}\n", format_ipv4(kGuestAddress))));
  const std::string machine_id = base::random_hex(16) + "\n";
  CR_TRY(replace_file(etc, "machine-id", machine_id));
  // D-Bus keeps a copy where it is no link to the other.
  const auto dbus = open_in_root(root, "var/lib/dbus", O_RDONLY | O_DIRECTORY);
  struct stat status {};
  if (dbus && ::fstatat(dbus->get(), "machine-id", &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode)) {
    CR_TRY(replace_file(*dbus, "machine-id", machine_id));
  }
  return {};
}

}  // namespace

base::Result<void> stage_job_root() {
  CR_TRY(make_devices());
  CR_TRY(make_directory(kStagedSys, 0700));
  CR_TRY(mount_with({.type = "sysfs", .target = kStagedSys, .flags = MS_NOSUID | MS_NODEV | MS_NOEXEC}));
  CR_TRY(make_directory(kImage, 0700));
  // A disk that is no image shows at START, by name.
  (void)mount_disk(kImageSlot, kImage, true);
  return {};
}

base::Result<void> make_job_root(const channel::StartRecord& start) {
  CR_TRY(mount_overlay(start));
  CR_ASSIGN(const auto root, base::open_file(kJobRoot, O_PATH | O_DIRECTORY));
  CR_TRY(make_directories(root));
  CR_TRY(move_mount(kStagedDevices, std::string(kJobRoot) + "/dev"));
  CR_TRY(move_mount(kStagedSys, std::string(kJobRoot) + "/sys"));
  CR_TRY(write_identity(root, start.hostname));
  for (const auto& mount : start.mounts) {
    CR_ASSIGN(const auto directory, make_directories_in_root(root, mount.path));
    // Through the descriptor: the path's links were followed within the job's root.
    CR_TRY(mount_disk(mount.slot, fmt::format("/proc/self/fd/{}", directory.get()), mount.read_only != 0));
  }
  return {};
}

}  // namespace cleanroom::guest
