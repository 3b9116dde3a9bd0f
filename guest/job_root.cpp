#include "guest/job_root.h"

#include "guest/disks.h"
#include "guest/exec_init.h"
#include "guest/image_warmup.h"
#include "guest/name_table.h"
#include "guest/root_path.h"
#include "src/base/os/io.h"
#include "src/base/os/random.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

namespace cleanroom::guest {
namespace {

constexpr const char* kImage = "/image";
constexpr const char* kScratch = "/scratch";
// The job's /dev is made here, and moved into its root: an image may have anything there.
constexpr const char* kStagedDevices = "/staged-dev";

// What stands in the files until START: as long as what replaces it, which is then one page that is there already.
constexpr std::size_t kMachineIdDigits = 32;
constexpr const char* kNoHostname = "cleanroom-00000000";

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

base::Result<void> mount_disk_at(const std::string& device, const char* target, bool read_only) {
  CR_TRY(make_directory(target, 0700));
  CR_ASSIGN(const auto directory, base::open_file(target, O_PATH | O_DIRECTORY));
  return mount_disk(device, directory, read_only);
}

base::Result<void> move_to(const char* from, const std::string& to) {
  if (::mount(from, to.c_str(), nullptr, MS_MOVE, nullptr) != 0) return base::fail(base::errno_error("move", to));
  return {};
}

base::Result<void> mount_overlay() {
  CR_TRY(make_directory(kJobRoot, 0700));
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

std::string hostname_text(std::string_view hostname) {
  return fmt::format("{}\n", hostname);
}

std::string hosts_text(std::string_view hostname) {
  return fmt::format("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{}\n", hostname);
}

base::Result<void> overwrite(const base::Fd& file, std::string_view text) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return base::fail(base::errno_error("look at", "a file of the job"));
  CR_TRY(base::pwrite_all(file, base::as_bytes(text), 0));
  if (static_cast<std::size_t>(status.st_size) > text.size() &&
      ::ftruncate(file.get(), static_cast<off_t>(text.size())) != 0)
    return base::fail(base::errno_error("cut", "a file of the job"));
  return {};
}

}  // namespace

base::Result<JobRoot> JobRoot::stage() {
  JobRoot root;
  CR_ASSIGN(root.disks_, find_disks());
  if (root.disks_.size() <= channel::kScratchSlot)
    return base::fail(base::Code::not_found,
                      fmt::format("cannot find a job's disks: there are {}", root.disks_.size()));
  for (const auto& disk : root.disks_)
    CR_TRY(forget_content(disk));
  CR_TRY(mount_disk_at(root.disks_[channel::kImageSlot], kImage, true));
  CR_TRY(mount_disk_at(root.disks_[channel::kScratchSlot], kScratch, false));
  CR_TRY(mount_overlay());
  CR_ASSIGN(root.directory_, base::open_file(kJobRoot, O_PATH | O_DIRECTORY));
  CR_TRY(make_directories(root.directory_));
  CR_TRY(make_devices());
  CR_TRY(move_to(kStagedDevices, std::string(kJobRoot) + "/dev"));
  CR_TRY(mount_with(
      {.type = "sysfs", .target = std::string(kJobRoot) + "/sys", .flags = MS_NOSUID | MS_NODEV | MS_NOEXEC}));
  CR_TRY(root.stage_files());
  // What is mounted in it later comes to the commands' namespaces that are there by then.
  if (::mount(nullptr, kJobRoot, nullptr, MS_SHARED, nullptr) != 0)
    return base::fail(base::errno_error("share", kJobRoot));
  return root;
}

void JobRoot::warm() const {
  warm_image(directory_);
}

base::Result<void> JobRoot::stage_files() {
  const auto create = [](const base::Fd& directory, const char* name, std::string_view text) -> base::Result<base::Fd> {
    CR_TRY(replace_file(directory, name, text));
    return base::open_at(directory, name, O_WRONLY | O_NOFOLLOW);
  };
  const std::string no_machine_id = std::string(kMachineIdDigits, '0') + "\n";
  CR_ASSIGN(const auto etc, open_in_root(directory_, "etc", O_RDONLY | O_DIRECTORY));
  CR_TRY(replace_file(etc, "resolv.conf", fmt::format("nameserver {}\n", format_ipv4(kGuestAddress))));
  CR_ASSIGN(hostname_, create(etc, "hostname", hostname_text(kNoHostname)));
  CR_ASSIGN(hosts_, create(etc, "hosts", hosts_text(kNoHostname)));
  CR_ASSIGN(auto machine_id, create(etc, "machine-id", no_machine_id));
  machine_ids_.push_back(std::move(machine_id));
  // D-Bus keeps a copy where it is no link to the other.
  const auto dbus = open_in_root(directory_, "var/lib/dbus", O_RDONLY | O_DIRECTORY);
  struct stat status {};
  if (dbus && ::fstatat(dbus->get(), "machine-id", &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode)) {
    CR_ASSIGN(auto copy, create(*dbus, "machine-id", no_machine_id));
    machine_ids_.push_back(std::move(copy));
  }
  made_workspace_ = !open_in_root(directory_, channel::kDefaultWorkspace, O_PATH);
  CR_ASSIGN(workspace_, make_directories_in_root(directory_, channel::kDefaultWorkspace));
  return {};
}

base::Result<void> JobRoot::write_identity(const std::string& hostname) {
  CR_TRY(overwrite(hostname_, hostname_text(hostname)));
  CR_TRY(overwrite(hosts_, hosts_text(hostname)));
  const std::string machine_id = base::random_hex(kMachineIdDigits / 2) + "\n";
  for (const auto& file : machine_ids_)
    CR_TRY(overwrite(file, machine_id));
  hostname_.reset();
  hosts_.reset();
  machine_ids_.clear();
  return {};
}

base::Result<void> JobRoot::mount_disks(const std::vector<channel::DiskMount>& mounts) const {
  bool uses_workspace = false;
  for (const auto& mount : mounts) {
    if (mount.slot >= disks_.size())
      return base::fail(base::Code::not_found, fmt::format("cannot find the disk of slot {}", mount.slot));
    const bool read_only = mount.read_only != 0;
    if (mount.path == channel::kDefaultWorkspace) {
      uses_workspace = true;
      CR_TRY(mount_disk(disks_[mount.slot], workspace_, read_only));
      continue;
    }
    CR_ASSIGN(const auto directory, make_directories_in_root(directory_, mount.path));
    CR_TRY(mount_disk(disks_[mount.slot], directory, read_only));
  }
  if (made_workspace_ && !uses_workspace)
    (void)::unlinkat(directory_.get(), channel::kDefaultWorkspace + 1, AT_REMOVEDIR);  // not empty: it is in use
  return {};
}

}  // namespace cleanroom::guest
