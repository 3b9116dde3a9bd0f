#include "src/backends/jail/minimal_root.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <set>

namespace cleanroom::backends::jail {

using base::Code;
using base::Result;

namespace {

// Only for as long as it takes to make the root; a directory that every system has.
constexpr const char* kStage = "/tmp";
constexpr const char* kStagedOldRoot = "/tmp/.old";
constexpr const char* kOldRoot = "/.old";
constexpr const char* kTmpfsOptions = "size=1m,mode=0755";
// For some sockets. A VMM that was taken over can fill no more.
constexpr const char* kDirectoryOptions = "size=64k,nr_inodes=16,mode=0700";
constexpr const char* kDescriptors = "/proc/self/fd";
// The old root's procfs, whose `self` is this process; its descriptors stay the ones in there, whatever it executes.
constexpr const char* kOldDescriptors = "/.old/proc/self/fd";

std::uint64_t attributes_of(JailFile::Use use) {
  std::uint64_t attributes = MOUNT_ATTR_NOSUID;
  if (use != JailFile::Use::write && use != JailFile::Use::device) attributes |= MOUNT_ATTR_RDONLY;
  if (use != JailFile::Use::execute) attributes |= MOUNT_ATTR_NOEXEC;
  if (use != JailFile::Use::device) attributes |= MOUNT_ATTR_NODEV;
  return attributes;
}

// Adds to a mount's attributes; those it has, and may be locked, stay.
bool set_attributes(const char* path, std::uint64_t attributes) {
  mount_attr change{};
  change.attr_set = attributes;
  return ::syscall(SYS_mount_setattr, AT_FDCWD, path, 0U, &change, sizeof change) == 0;
}

}  // namespace

Result<MinimalRoot> MinimalRoot::plan(const VmmProfile& profile, const std::optional<VmmUser>& user) {
  MinimalRoot root;
  std::set<std::string> directories;
  std::set<std::string> targets;
  const auto add_directories = [&](std::filesystem::path path) {
    for (; path.has_relative_path(); path = path.parent_path())
      directories.insert(path.native());
  };
  for (const auto& file : profile.files) {
    const auto target = file.path.lexically_normal();
    if (!targets.insert(target.native()).second) continue;
    const auto& from = file.source.empty() ? target : file.source;
    std::error_code error;
    const auto source = std::filesystem::canonical(from, error);
    if (error || !target.is_absolute())
      return base::fail(Code::not_found, fmt::format("cannot give '{}' to the VMM: {}", from.native(),
                                                     error ? error.message() : "its path is not absolute"));
    add_directories(target.parent_path());
    root.binds_.push_back({kOldRoot + source.native(), target.native(), attributes_of(file.use)});
  }
  root.own_descriptors_ = profile.own_descriptors;
  if (root.own_descriptors_) add_directories(kDescriptors);
  if (profile.directory) {
    add_directories(kDirectory);
    root.directory_options_ = kDirectoryOptions;
    if (user) root.directory_options_ += fmt::format(",uid={},gid={}", user->uid, user->gid);
  }
  root.directories_.assign(directories.begin(), directories.end());
  return root;
}

const char* MinimalRoot::bind_files() const noexcept {
  for (const auto& bind : binds_) {
    const int place = ::open(bind.target.c_str(), O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0600);
    if (place < 0) return "make the files of";
    ::close(place);
    if (::mount(bind.source.c_str(), bind.target.c_str(), nullptr, MS_BIND, nullptr) != 0) return "bind the files of";
    if (!set_attributes(bind.target.c_str(), bind.attributes)) return "protect the files of";
  }
  if (own_descriptors_) {
    if (::mount(kOldDescriptors, kDescriptors, nullptr, MS_BIND, nullptr) != 0) return "bind the descriptors of";
    if (!set_attributes(kDescriptors, attributes_of(JailFile::Use::read))) return "protect the descriptors of";
  }
  return nullptr;
}

const char* MinimalRoot::enter() const noexcept {
  constexpr unsigned long kNothingSpecial = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "take apart the mounts of";
  if (::mount("tmpfs", kStage, "tmpfs", kNothingSpecial, kTmpfsOptions) != 0) return "mount a root for";
  if (::mkdir(kStagedOldRoot, 0700) != 0 || ::syscall(SYS_pivot_root, kStage, kStagedOldRoot) != 0 || ::chdir("/") != 0)
    return "change the root of";
  for (const auto& directory : directories_) {
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return "make the directories of";
  }
  if (const char* failed = bind_files()) return failed;
  if (!directory_options_.empty() &&
      ::mount("tmpfs", kDirectory, "tmpfs", kNothingSpecial, directory_options_.c_str()) != 0)
    return "mount a directory for";
  if (::umount2(kOldRoot, MNT_DETACH) != 0 || ::rmdir(kOldRoot) != 0) return "leave the old root of";
  if (!set_attributes("/", MOUNT_ATTR_RDONLY)) return "protect the root of";
  return nullptr;
}

}  // namespace cleanroom::backends::jail
