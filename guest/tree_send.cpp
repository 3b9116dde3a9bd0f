#include "guest/glob.h"
#include "guest/root_path.h"
#include "guest/tar_format.h"
#include "guest/tree.h"
#include "src/base/os/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kCopySize = 64 * 1024;

std::optional<TarType> tar_type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return TarType::file;
    case S_IFDIR:
      return TarType::directory;
    case S_IFLNK:
      return TarType::symbolic_link;
    case S_IFIFO:
      return TarType::fifo;
    case S_IFCHR:
      return TarType::character_device;
    case S_IFBLK:
      return TarType::block_device;
    default:
      return std::nullopt;  // a socket: tar cannot name it
  }
}

class TreeSender {
 public:
  TreeSender(std::vector<Glob> globs, const base::Fd& to) : globs_(std::move(globs)), to_(to) {}

  base::Result<void> send_directory(const base::Fd& directory, const std::string& path, bool all, std::size_t depth) {
    if (depth > kMaxTreeDepth) return base::fail(limit("directories nested too deeply"));
    CR_ASSIGN(const auto names, sorted_names(directory, path));
    for (const auto& name : names)
      CR_TRY(send_entry(directory, name, path.empty() ? name : fmt::format("{}/{}", path, name), all, depth));
    return {};
  }

  base::Result<void> finish() {
    const std::vector<std::byte> end(kTarEnd);
    return base::write_all(to_, end);
  }

 private:
  static base::Error limit(std::string_view what) {
    return base::Error(base::Code::invalid_input, fmt::format("cannot send the files: {}", what));
  }

  base::Result<std::vector<std::string>> sorted_names(const base::Fd& directory, const std::string& path) {
    CR_ASSIGN(auto readable, base::open_at(directory, ".", O_RDONLY | O_DIRECTORY));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(readable.release()), ::closedir);
    if (!stream) return base::fail(base::errno_error("list", path));
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (++entries_ > kMaxTreeEntries) return base::fail(limit("too many of them"));
      names.emplace_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  base::Result<void> send_entry(const base::Fd& directory, const std::string& name, const std::string& path, bool all,
                                std::size_t depth) {
    // O_PATH opens nothing: no FIFO or device holds us, and what we look at is what we then read.
    const auto node = base::open_at(directory, name, O_PATH | O_NOFOLLOW);
    struct stat status {};
    if (!node || ::fstat(node->get(), &status) != 0) return {};  // gone since it was listed
    const auto type = tar_type_of(status.st_mode);
    if (!type) return {};
    const bool is_match = all || matches(path);
    if (is_match) CR_TRY(send_node(*node, *type, status, path));
    if (*type != TarType::directory || !(is_match || may_match_below(path))) return {};
    return send_directory(*node, path, is_match, depth + 1);
  }

  bool matches(const std::string& path) const {
    return std::any_of(globs_.begin(), globs_.end(), [&](const Glob& glob) { return glob.matches(path); });
  }
  bool may_match_below(const std::string& path) const {
    return std::any_of(globs_.begin(), globs_.end(), [&](const Glob& glob) { return glob.may_match_below(path); });
  }

  base::Result<void> send_node(const base::Fd& node, TarType type, const struct stat& status, const std::string& path) {
    if (path.size() >= kMaxTarPath) return base::fail(limit("a path is too long"));
    TarEntry entry{
        .path = path, .type = type, .mode = status.st_mode & 07777U, .uid = status.st_uid, .gid = status.st_gid};
    entry.mtime = status.st_mtim.tv_sec > 0 ? static_cast<std::uint64_t>(status.st_mtim.tv_sec) : 0;
    if (type == TarType::symbolic_link) {
      std::string target(kMaxTarPath, '\0');
      const ssize_t n = ::readlinkat(node.get(), "", target.data(), target.size());
      if (n <= 0 || static_cast<std::size_t>(n) == target.size()) return base::fail(base::errno_error("read", path));
      entry.link_target = target.substr(0, static_cast<std::size_t>(n));
    }
    if (type == TarType::file) entry.size = static_cast<std::uint64_t>(status.st_size);
    CR_TRY(base::write_all(to_, encode_tar_header(entry)));
    return type == TarType::file ? send_content(node, path, entry.size) : base::Result<void>{};
  }

  base::Result<void> send_content(const base::Fd& node, const std::string& path, std::uint64_t size) {
    // An O_PATH descriptor is opened for reading through its name in /proc: exactly this file, whatever happens to
    // the directory.
    CR_ASSIGN(const auto file, base::open_file(fmt::format("/proc/self/fd/{}", node.get()), O_RDONLY | O_NONBLOCK));
    std::uint64_t left = size;
    while (left > 0) {
      const auto room = static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer_.size()));
      CR_ASSIGN(const auto n, base::read_some(file, std::span(buffer_).first(room)));
      if (n == 0) {
        return base::fail(base::Code::failed_precondition,
                          fmt::format("cannot send '{}': it became shorter while it was read", path));
      }
      CR_TRY(base::write_all(to_, std::span(buffer_).first(n)));
      left -= n;
    }
    const std::vector<std::byte> padding(tar_padding(size));
    return base::write_all(to_, padding);
  }

  std::vector<Glob> globs_;
  const base::Fd& to_;
  std::size_t entries_ = 0;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kCopySize);
};

}  // namespace

base::Result<void> send_tree(const base::Fd& root, const std::string& directory,
                             const std::vector<std::string>& patterns, const base::Fd& to) {
  std::vector<Glob> globs;
  for (const auto& pattern : patterns) {
    CR_ASSIGN(auto glob, Glob::parse(pattern));
    globs.push_back(std::move(glob));
  }
  CR_ASSIGN(const auto top, open_in_root(root, directory, O_PATH | O_DIRECTORY));
  TreeSender sender(std::move(globs), to);
  CR_TRY(sender.send_directory(top, "", false, 0));
  return sender.finish();
}

}  // namespace cleanroom::guest
