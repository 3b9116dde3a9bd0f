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

Result<MinimalRoot> MinimalRoot::plan(const std::vector<JailFile>& files) {
  MinimalRoot root;
  std::set<std::string> directories;
  std::set<std::string> targets;
  for (const auto& file : files) {
    const auto target = file.path.lexically_normal();
    if (!targets.insert(target.native()).second) continue;
    std::error_code error;
    const auto source = std::filesystem::canonical(target, error);
    if (error || !target.is_absolute())
      return base::fail(Code::not_found, fmt::format("cannot give '{}' to the VMM: {}", target.native(),
                                                     error ? error.message() : "its path is not absolute"));
    for (auto parent = target.parent_path(); parent.has_relative_path(); parent = parent.parent_path())
      directories.insert(parent.native());
    root.binds_.push_back({kOldRoot + source.native(), target.native(), attributes_of(file.use)});
  }
  root.directories_.assign(directories.begin(), directories.end());
  return root;
}

const char* MinimalRoot::enter() const noexcept {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "take apart the mounts of";
  if (::mount("tmpfs", kStage, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, kTmpfsOptions) != 0)
    return "mount a root for";
  if (::mkdir(kStagedOldRoot, 0700) != 0 || ::syscall(SYS_pivot_root, kStage, kStagedOldRoot) != 0 || ::chdir("/") != 0)
    return "change the root of";
  for (const auto& directory : directories_) {
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return "make the directories of";
  }
  for (const auto& bind : binds_) {
    const int place = ::open(bind.target.c_str(), O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0600);
    if (place < 0) return "make the files of";
    ::close(place);
    if (::mount(bind.source.c_str(), bind.target.c_str(), nullptr, MS_BIND, nullptr) != 0) return "bind the files of";
    if (!set_attributes(bind.target.c_str(), bind.attributes)) return "protect the files of";
  }
  if (::umount2(kOldRoot, MNT_DETACH) != 0 || ::rmdir(kOldRoot) != 0) return "leave the old root of";
  if (!set_attributes("/", MOUNT_ATTR_RDONLY)) return "protect the root of";
  return nullptr;
}

}  // namespace cleanroom::backends::jail
