#include "guest/root_path.h"
#include "guest/tar_format.h"
#include "guest/tree.h"
#include "src/base/os/io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace cleanroom::guest {
namespace {

constexpr std::size_t kTreeReadSize = 64 * 1024;

// No part may be "..", and the path must be relative.
bool is_safe(std::string_view path) {
  if (path.empty() || path.front() == '/') return false;
  while (!path.empty()) {
    const auto end = path.find('/');
    if (path.substr(0, end) == "..") return false;
    path = end == std::string_view::npos ? std::string_view{} : path.substr(end + 1);
  }
  return true;
}

class TreeReceiver final : public TarReader::Sink {
 public:
  TreeReceiver(const base::Fd& root, std::string directory) : root_(root), directory_(std::move(directory)) {}

  base::Result<void> on_entry(const TarEntry& entry) override {
    if (!is_safe(entry.path)) return base::fail(refused(entry, "it leads out of the directory"));
    entry_ = entry;
    const auto slash = entry.path.rfind('/');
    const std::string parent = slash == std::string::npos ? "" : entry.path.substr(0, slash);
    name_ = entry.path.substr(slash == std::string::npos ? 0 : slash + 1);
    if (entry.type == TarType::directory) {
      CR_ASSIGN(const auto made, make_directories_in_root(root_, directory_ + "/" + entry.path));
      return set_attributes(made, "");
    }
    if (name_ == ".") return base::fail(refused(entry, "only a directory can have that name"));
    if (entry.type != TarType::file && entry.type != TarType::symbolic_link && entry.type != TarType::hard_link) {
      return base::fail(refused(entry, "special files are not accepted"));
    }
    CR_ASSIGN(parent_, make_directories_in_root(root_, directory_ + "/" + parent));
    if (::unlinkat(parent_.get(), name_.c_str(), 0) != 0 && errno != ENOENT) {
      return base::fail(base::errno_error("replace", entry.path));
    }
    if (entry.type == TarType::symbolic_link) return make_symbolic_link();
    if (entry.type == TarType::hard_link) return make_hard_link();
    CR_ASSIGN(file_, base::open_at(parent_, name_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
    return {};
  }

  base::Result<void> on_data(std::span<const std::byte> bytes) override { return base::write_all(file_, bytes); }

  base::Result<void> on_entry_end() override {
    if (entry_.type != TarType::file) return {};
    CR_TRY(set_attributes(parent_, name_));
    file_.reset();
    return {};
  }

 private:
  static base::Error refused(const TarEntry& entry, std::string_view why) {
    return base::Error(base::Code::invalid_input, fmt::format("cannot unpack '{}': {}", entry.path, why));
  }

  base::Result<void> make_symbolic_link() {
    if (::symlinkat(entry_.link_target.c_str(), parent_.get(), name_.c_str()) != 0) {
      return base::fail(base::errno_error("make the link", entry_.path));
    }
    return set_attributes(parent_, name_);
  }

  base::Result<void> make_hard_link() {
    if (!is_safe(entry_.link_target)) return base::fail(refused(entry_, "its target leads out of the directory"));
    CR_ASSIGN(const auto target, open_in_root(root_, directory_ + "/" + entry_.link_target, O_PATH | O_NOFOLLOW));
    if (::linkat(target.get(), "", parent_.get(), name_.c_str(), AT_EMPTY_PATH) != 0) {
      return base::fail(base::errno_error("make the link", entry_.path));
    }
    return {};
  }

  // Of `name` in `at`, or of `at` itself. The owner first: a change of owner clears set-id bits.
  base::Result<void> set_attributes(const base::Fd& at, const std::string& name) {
    const int flags = AT_SYMLINK_NOFOLLOW | (name.empty() ? AT_EMPTY_PATH : 0);
    if (::fchownat(at.get(), name.c_str(), static_cast<uid_t>(entry_.uid), static_cast<gid_t>(entry_.gid), flags) !=
        0) {
      return base::fail(base::errno_error("set the owner of", entry_.path));
    }
    if (entry_.type != TarType::symbolic_link) {
      const auto through = fmt::format("/proc/self/fd/{}", entry_.type == TarType::file ? file_.get() : at.get());
      if (::chmod(through.c_str(), entry_.mode) != 0)
        return base::fail(base::errno_error("set the mode of", entry_.path));
    }
    const timespec time{static_cast<time_t>(entry_.mtime), 0};
    const timespec times[2] = {time, time};
    if (::utimensat(at.get(), name.c_str(), times, flags) != 0) {
      return base::fail(base::errno_error("set the time of", entry_.path));
    }
    return {};
  }

  const base::Fd& root_;
  std::string directory_;
  TarEntry entry_;
  std::string name_;
  base::Fd parent_;
  base::Fd file_;
};

}  // namespace

base::Result<void> receive_tree(const base::Fd& root, const std::string& directory, const base::Fd& from) {
  CR_TRY(make_directories_in_root(root, directory));
  TreeReceiver receiver(root, directory);
  TarReader reader(receiver);
  std::vector<std::byte> buffer(kTreeReadSize);
  for (;;) {
    CR_ASSIGN(const auto n, base::read_some(from, buffer));
    if (n == 0) break;
    CR_TRY(reader.feed(std::span(buffer).first(n)));
  }
  if (!reader.is_complete()) return base::fail(base::Code::invalid_input, "cannot read the archive: it ends early");
  return {};
}

}  // namespace cleanroom::guest
