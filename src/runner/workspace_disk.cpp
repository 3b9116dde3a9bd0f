#include "src/runner/workspace_disk.h"

#include "src/base/os/io.h"
#include "src/base/text/utf8.h"
#include "src/image/ext4_writer.h"
#include "src/model/reason.h"
#include "src/runner/output_receiver.h"
#include "src/runner/workspace_disk_git.h"
#include "src/runner/workspace_scan.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace cleanroom::runner {
namespace {

using base::Code;
using base::Error;
using base::fail;
using base::Fd;
using base::Result;
using image::EntryKind;
using image::TreeEntry;

constexpr std::size_t kMaxRewrittenBytes = 16u << 20;  // FETCH_HEAD, a reflog
constexpr std::size_t kMaxAlternatesBytes = 64u << 10;
constexpr const char* kMirrorName = "cleanroom-mirror";

// What the directory being walked is to Git, which decides what becomes of its names.
enum class Zone {
  plain,
  git,          // a Git directory
  git_modules,  // below modules/: a Git directory when it holds HEAD
  git_objects,  // objects/
  git_info,     // objects/info/
  git_data,     // below anything copied as it is
  git_texts,    // below anything whose URLs are cleaned
  mirror,       // the objects of the operator's mirror
  mirror_info,
};

struct Place {
  std::string path;  // of the directory; "" is the root
  std::size_t depth = 0;
  Zone zone = Zone::plain;
  std::string git_path;  // of the Git directory this is in

  std::string child(const std::string& name) const { return path.empty() ? name : path + '/' + name; }
};

Error as_workspace_failure(Error error) {
  error.reason = model::to_string(model::Reason::workspace_failed);
  return error;
}

class WorkspaceBuilder {
 public:
  WorkspaceBuilder(image::Ext4Writer& writer, const WorkspaceOptions& options) : writer_(writer), options_(options) {}

  Result<void> build();
  WorkspaceReport take_report() { return std::move(report_); }

 private:
  Result<void> walk(const Fd& directory, const Place& place);
  Result<void> add_child(const Fd& parent, const Place& place, const std::string& name);
  Result<void> add_git_child(const Fd& parent, const Place& place, const std::string& name);
  Result<void> add_as_it_is(const Fd& parent, const Place& place, const std::string& name, Zone below);
  Result<void> add_directory(const Fd& parent, const Place& place, const std::string& name, Zone below);
  Result<void> add_file(const Fd& parent, const std::string& path, const std::string& name);
  Result<void> add_symlink(const Fd& parent, const std::string& path, const std::string& name);
  Result<void> add_rewritten(const Fd& parent, const std::string& path, const std::string& name);
  Result<void> add_text(const std::string& path, const struct ::stat& status, std::string text);
  Result<void> add_dot_git(const Fd& parent, const Place& place, const std::string& name);
  Result<void> add_alternates(const Fd& parent, const Place& place, const std::string& name);
  Result<void> add_mirror(const std::string& git_path);
  Result<void> check_limits(const Place& place, const std::string& path) const;
  Result<void> count_bytes(std::uint64_t bytes);
  TreeEntry entry_for(const std::string& path, EntryKind kind, const struct ::stat& status) const;
  bool is_mirror_objects(std::string_view line) const;
  void warn(const std::string& path, std::string_view what);

  image::Ext4Writer& writer_;
  const WorkspaceOptions& options_;
  WorkspaceReport report_;
  std::map<std::pair<dev_t, ino_t>, std::uint32_t> hard_links_;
  std::vector<std::string> mirrored_;  // Git directories that get a copy of the mirror's objects
};

void WorkspaceBuilder::warn(const std::string& path, std::string_view what) {
  if (report_.warnings.size() == kMaxWorkspaceWarnings) {
    ++report_.warnings_not_listed;
    return;
  }
  report_.warnings.push_back(fmt::format("'{}' {}", base::escape_for_display(path), what));
}

TreeEntry WorkspaceBuilder::entry_for(const std::string& path, EntryKind kind, const struct ::stat& status) const {
  TreeEntry entry;
  entry.path = path;
  entry.kind = kind;
  entry.mode = status.st_mode & 0777;
  entry.uid = options_.uid;
  entry.gid = options_.gid;
  entry.mtime = {status.st_mtim.tv_sec, static_cast<std::uint32_t>(status.st_mtim.tv_nsec)};
  return entry;
}

Result<void> WorkspaceBuilder::check_limits(const Place& place, const std::string& path) const {
  const auto& limits = options_.limits;
  if (options_.stop.stop_requested()) return fail(Code::cancelled, "the run was cancelled");
  std::string_view broken;
  if (report_.entries >= limits.entries) broken = "the checkout has too many entries";
  if (place.depth >= limits.depth) broken = "the checkout is nested too deeply";
  if (path.size() > limits.path_bytes) broken = "a path in the checkout is too long";
  if (broken.empty()) return {};
  return fail(Code::invalid_input,
              fmt::format("cannot copy '{}': {}", base::escape_for_display(path.substr(0, 200)), broken));
}

Result<void> WorkspaceBuilder::count_bytes(std::uint64_t bytes) {
  report_.bytes += bytes;
  if (options_.limits.content_bytes == 0 || report_.bytes <= options_.limits.content_bytes) return {};
  return fail(Code::invalid_input,
              fmt::format("cannot copy the checkout: it holds more than {} bytes", options_.limits.content_bytes));
}

Result<void> WorkspaceBuilder::build() {
  CR_ASSIGN(const Fd root, base::open_file(options_.checkout, O_RDONLY | O_DIRECTORY));
  struct ::stat status {};
  if (::fstat(root.get(), &status) != 0)
    return fail(base::errno_error("read the status of", options_.checkout.native()));
  TreeEntry entry = entry_for("", EntryKind::directory, status);
  entry.mode |= 0700;
  CR_TRY(writer_.add(entry));
  CR_TRY(walk(root, {}));
  for (const auto& git_path : mirrored_)
    CR_TRY(add_mirror(git_path));
  return {};
}

Result<void> WorkspaceBuilder::walk(const Fd& directory, const Place& place) {
  CR_ASSIGN(const auto names,
            list_directory(directory,
                           options_.limits.entries - std::min<std::size_t>(options_.limits.entries, report_.entries)));
  Place here = place;
  if (here.zone == Zone::git_modules && std::binary_search(names.begin(), names.end(), "HEAD")) {
    here.zone = Zone::git;
    here.git_path = here.path;
  }
  for (const auto& name : names) {
    CR_TRY(check_limits(here, here.child(name)));
    CR_TRY(add_child(directory, here, name));
  }
  return {};
}

Result<void> WorkspaceBuilder::add_child(const Fd& parent, const Place& place, const std::string& name) {
  switch (place.zone) {
    case Zone::plain:
      if (place.path.empty() && name.starts_with(kStagingPrefix)) return {};
      return name == ".git" ? add_dot_git(parent, place, name) : add_as_it_is(parent, place, name, Zone::plain);
    case Zone::git:
      return add_git_child(parent, place, name);
    case Zone::git_objects:
      return add_as_it_is(parent, place, name, name == "info" ? Zone::git_info : Zone::git_data);
    case Zone::git_info:
      if (name == "alternates") return add_alternates(parent, place, name);
      return name == "http-alternates" ? Result<void>{} : add_as_it_is(parent, place, name, Zone::git_data);
    case Zone::mirror:
      return add_as_it_is(parent, place, name, name == "info" ? Zone::mirror_info : Zone::mirror);
    case Zone::mirror_info:
      if (name == "alternates" || name == "http-alternates") {
        warn(place.child(name), "was left out: the mirror borrows objects from elsewhere");
        return {};
      }
      return add_as_it_is(parent, place, name, Zone::mirror);
    case Zone::git_texts: {
      CR_ASSIGN(const auto status, status_of_child(parent, name));
      if (S_ISREG(status.st_mode)) return add_rewritten(parent, place.child(name), name);
      return add_as_it_is(parent, place, name, Zone::git_texts);
    }
    case Zone::git_modules: {
      CR_ASSIGN(const auto status, status_of_child(parent, name));
      return S_ISDIR(status.st_mode) ? add_directory(parent, place, name, Zone::git_modules) : Result<void>{};
    }
    case Zone::git_data:
      return add_as_it_is(parent, place, name, Zone::git_data);
  }
  return {};
}

Result<void> WorkspaceBuilder::add_dot_git(const Fd& parent, const Place& place, const std::string& name) {
  if (options_.git == GitDirectory::exclude) return {};
  CR_ASSIGN(const auto status, status_of_child(parent, name));
  if (S_ISDIR(status.st_mode)) {
    Place inside = place;
    inside.git_path = place.child(name);
    return add_directory(parent, inside, name, Zone::git);
  }
  if (S_ISREG(status.st_mode)) {
    const auto file = open_child_file(parent, name);
    const auto text = file ? base::read_all(file->fd, name, 4096) : Result<std::string>(fail(file.error()));
    if (text && is_relative_gitfile(*text)) return add_text(place.child(name), status, *text);
  }
  warn(place.child(name), "was left out: it names a Git directory elsewhere on this host, so git finds no repository");
  return {};
}

Result<void> WorkspaceBuilder::add_git_child(const Fd& parent, const Place& place, const std::string& name) {
  switch (classify_git_entry(name)) {
    case GitEntry::copy:
      return add_as_it_is(parent, place, name, Zone::git_data);
    case GitEntry::copy_config:
      return add_rewritten(parent, place.child(name), name);
    case GitEntry::copy_without_urls: {
      CR_ASSIGN(const auto status, status_of_child(parent, name));
      if (S_ISREG(status.st_mode)) return add_rewritten(parent, place.child(name), name);
      return add_as_it_is(parent, place, name, Zone::git_texts);
    }
    case GitEntry::modules:
      return add_as_it_is(parent, place, name, Zone::git_modules);
    case GitEntry::objects:
      return add_as_it_is(parent, place, name, Zone::git_objects);
    case GitEntry::leave_out:
      return {};
    case GitEntry::unknown:
      warn(place.child(name), "was left out: it is no part of a Git directory that a job needs");
      return {};
  }
  return {};
}

Result<void> WorkspaceBuilder::add_as_it_is(const Fd& parent, const Place& place, const std::string& name, Zone below) {
  const auto status = status_of_child(parent, name);
  if (!status) {
    warn(place.child(name), "was left out: it went away while the checkout was read");
    return {};
  }
  switch (status->st_mode & S_IFMT) {
    case S_IFDIR:
      return add_directory(parent, place, name, below);
    case S_IFREG:
      return add_file(parent, place.child(name), name);
    case S_IFLNK:
      return add_symlink(parent, place.child(name), name);
    default:
      warn(place.child(name), "was left out: it is a FIFO, socket or device");
      return {};
  }
}

Result<void> WorkspaceBuilder::add_directory(const Fd& parent, const Place& place, const std::string& name,
                                             Zone below) {
  const std::string path = place.child(name);
  const auto directory = open_child_directory(parent, name);
  struct ::stat status {};
  if (!directory || ::fstat(directory->get(), &status) != 0) {
    warn(path, "was left out: the directory cannot be read");
    return {};
  }
  CR_TRY(writer_.add(entry_for(path, EntryKind::directory, status)));
  ++report_.entries;
  return walk(*directory, {path, place.depth + 1, below, place.git_path});
}

Result<void> WorkspaceBuilder::add_file(const Fd& parent, const std::string& path, const std::string& name) {
  auto file = open_child_file(parent, name);
  if (!file) {
    warn(path, "was left out: the file cannot be read");
    return {};
  }
  TreeEntry entry = entry_for(path, EntryKind::file, file->status);
  entry.size = static_cast<std::uint64_t>(file->status.st_size);
  ++report_.entries;
  // An inode of its own: names that share one have the same mode.
  const bool is_script = path == options_.executable;
  if (is_script) entry.mode |= 0111;
  const std::pair identity(file->status.st_dev, file->status.st_ino);
  if (const auto first = hard_links_.find(identity); first != hard_links_.end() && !is_script) {
    entry.kind = EntryKind::hardlink;
    entry.hardlink_to = first->second;
    CR_TRY(writer_.add(entry));
    return {};
  }
  FileContent content(std::move(file->fd), entry.size, options_.stop);
  auto inode = writer_.add(entry, &content);
  if (!inode)
    return fail(std::move(inode).error().with_context(fmt::format("copy '{}'", base::escape_for_display(path))));
  if (file->status.st_nlink > 1 && !is_script) hard_links_.emplace(identity, *inode);
  return count_bytes(content.data_bytes());
}

Result<void> WorkspaceBuilder::add_symlink(const Fd& parent, const std::string& path, const std::string& name) {
  CR_ASSIGN(const auto status, status_of_child(parent, name));
  auto target = read_link(parent, name);
  if (!target) {
    warn(path, "was left out: the link cannot be read");
    return {};
  }
  TreeEntry entry = entry_for(path, EntryKind::symlink, status);
  entry.mode = 0777;
  entry.link_target = std::move(*target);
  CR_TRY(writer_.add(entry));
  ++report_.entries;
  return {};
}

Result<void> WorkspaceBuilder::add_text(const std::string& path, const struct ::stat& status, std::string text) {
  TreeEntry entry = entry_for(path, EntryKind::file, status);
  entry.size = text.size();
  TextContent content(std::move(text));
  CR_TRY(writer_.add(entry, &content));
  ++report_.entries;
  return count_bytes(entry.size);
}

Result<void> WorkspaceBuilder::add_rewritten(const Fd& parent, const std::string& path, const std::string& name) {
  const bool config = classify_git_entry(name) == GitEntry::copy_config;
  const auto file = open_child_file(parent, name);
  const auto text = file ? base::read_all(file->fd, path, config ? kMaxGitConfigBytes : kMaxRewrittenBytes)
                         : Result<std::string>(fail(file.error()));
  if (!text) {
    warn(path, "was left out: it cannot be read, or is too large to be cleaned of credentials");
    return {};
  }
  if (!config) return add_text(path, file->status, strip_url_credentials(*text));
  auto rewritten = rewrite_git_config(*text);
  if (rewritten) return add_text(path, file->status, std::move(*rewritten));
  warn(path, "was left out: it is not a Git configuration");
  return {};
}

// Compared as text: a path that the repository wrote is never touched. Git writes the mirror's real path.
bool WorkspaceBuilder::is_mirror_objects(std::string_view line) const {
  if (options_.repo_mirror.empty() || !options_.repo_mirror.is_absolute()) return false;
  std::error_code error;
  const auto real = std::filesystem::canonical(options_.repo_mirror, error);
  return line == (options_.repo_mirror.lexically_normal() / "objects").native() ||
         (!error && line == (real / "objects").native());
}

Result<void> WorkspaceBuilder::add_alternates(const Fd& parent, const Place& place, const std::string& name) {
  const auto file = open_child_file(parent, name);
  const auto text =
      file ? base::read_all(file->fd, name, kMaxAlternatesBytes) : Result<std::string>(fail(file.error()));
  bool mirrored = false;
  for (std::string_view rest = text ? std::string_view(*text) : std::string_view(); !rest.empty();) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.empty() || line.starts_with('#')) continue;
    if (is_mirror_objects(line)) {
      mirrored = true;
    } else {
      warn(place.child(name),
           "names objects outside this checkout and its mirror; they were not copied, so git may "
           "miss objects");
    }
  }
  if (!text) warn(place.child(name), "was left out: it cannot be read");
  if (!mirrored) return {};
  mirrored_.push_back(place.git_path);
  return add_text(place.child(name), file->status, fmt::format("../{}\n", kMirrorName));
}

Result<void> WorkspaceBuilder::add_mirror(const std::string& git_path) {
  const std::string path = git_path + '/' + kMirrorName;
  CR_ASSIGN(const Fd mirror, base::open_file(options_.repo_mirror, O_RDONLY | O_DIRECTORY));
  const auto depth = static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
  auto objects = open_child_directory(mirror, "objects");
  if (!objects) return fail(std::move(objects).error().with_context("copy the objects of the repository's mirror"));
  struct ::stat status {};
  if (::fstat(objects->get(), &status) != 0) return fail(base::errno_error("read the status of", "objects"));
  CR_TRY(writer_.add(entry_for(path, EntryKind::directory, status)));
  ++report_.entries;
  return walk(*objects, {path, depth + 1, Zone::mirror, git_path});
}

Result<image::Ext4Writer> open_writer(const Fd& file, std::uint64_t size_mib, const char* label) {
  Fd own(::fcntl(file.get(), F_DUPFD_CLOEXEC, 3));
  if (!own) return fail(base::errno_error("duplicate", "disk file"));
  image::Ext4Options options;
  options.size_bytes = size_mib << 20;
  options.label = label;
  options.seed = std::string("cleanroom ") + label;
  return image::Ext4Writer::create(std::move(own), std::move(options));
}

}  // namespace

Result<WorkspaceReport> build_workspace_disk(const Fd& file, const WorkspaceOptions& options) {
  auto writer = open_writer(file, options.size_mib, "workspace");
  if (!writer) return fail(as_workspace_failure(std::move(writer).error()));
  WorkspaceBuilder builder(*writer, options);
  auto done = builder.build();
  if (done) done = writer->finish();
  if (!done) return fail(as_workspace_failure(std::move(done).error()));
  return builder.take_report();
}

Result<void> create_scratch_disk(const Fd& file, std::uint64_t size_mib) {
  CR_ASSIGN(auto writer, open_writer(file, size_mib, "scratch"));
  return writer.finish();
}

}  // namespace cleanroom::runner
