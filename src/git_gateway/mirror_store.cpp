#include "src/git_gateway/mirror_store.h"

#include "src/base/net/sha256.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/random.h"
#include "src/base/os/temp_dir.h"
#include "src/git_gateway/limits.h"
#include "src/git_gateway/mirror_git.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace cleanroom::git_gateway {

using base::Code;
using base::Result;
namespace fs = std::filesystem;

namespace {

constexpr const char* kUseLock = "use.lock";
constexpr const char* kFillLock = "fill.lock";
constexpr const char* kUsed = "used";
constexpr const char* kSuspect = "suspect";
constexpr const char* kKey = "key";
constexpr std::string_view kRemoved = ".removed-";
constexpr std::string_view kHeads = "refs/heads/";
constexpr std::string_view kTags = "refs/tags/";
constexpr std::size_t kMaxPackedRefs = 32u << 20u;
constexpr std::size_t kIdDigits = 64;
constexpr std::chrono::seconds kInitLimit{20};

// nullopt: somebody else holds it, or the file is no longer the one of that name.
std::optional<base::Fd> try_lock(const fs::path& file, int operation) {
  auto fd = base::open_file(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!fd || ::flock(fd->get(), operation | LOCK_NB) != 0) return std::nullopt;
  struct stat held {};
  struct stat named {};
  if (::fstat(fd->get(), &held) != 0 || ::lstat(file.c_str(), &named) != 0 || held.st_ino != named.st_ino)
    return std::nullopt;
  return std::move(*fd);
}

bool is_there(const fs::path& path) {
  std::error_code ec;
  return fs::exists(path, ec);
}

void touch(const fs::path& file) {
  if (const auto fd = base::open_file(file, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600))
    (void)::futimens(fd->get(), nullptr);
}

fs::path packed_refs(const MirrorUse& use) {
  return use.repository() / "packed-refs";
}

Result<void> make_repository(const MirrorUse& use) {
  if (is_there(use.repository() / "HEAD")) return {};
  std::error_code ec;
  const auto fresh = use.folder / "repo.new";
  fs::remove_all(fresh, ec);
  fs::remove_all(use.repository(), ec);
  CR_ASSIGN(auto options,
            mirror_git_options(
                {.repository = fresh, .arguments = {"init", "-q", "--bare", "--template=", "--object-format=sha1"}}));
  CR_ASSIGN(const auto done, base::run_process(std::move(options), base::deadline_in(kInitLimit)));
  if (!done.status.success())
    return base::fail(Code::unavailable,
                      fmt::format("cannot make '{}': git ended with {}", fresh.native(), base::to_string(done.status)));
  fs::rename(fresh, use.repository(), ec);
  if (ec) return base::fail(base::errno_error("make", use.repository().native(), ec.value()));
  return {};
}

// What git leaves when it is killed while it writes a pack, and locks of files that nobody writes but a fill.
void clear_leftovers(const fs::path& repository) {
  std::error_code ec;
  std::vector<fs::path> leftovers{repository / "packed-refs.lock"};
  for (const auto* folder : {"objects", "objects/pack"}) {
    for (fs::directory_iterator it(repository / folder, ec), end; !ec && it != end; it.increment(ec)) {
      const auto name = it->path().filename().native();
      if (name.starts_with("tmp_") || name.starts_with(".tmp-") || name.ends_with(".lock"))
        leftovers.push_back(it->path());
    }
  }
  for (const auto& file : leftovers)
    fs::remove(file, ec);
}

std::uint64_t disk_size_of(const fs::path& folder) {
  std::uint64_t size = 0;
  std::error_code ec;
  for (fs::recursive_directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) size += it->file_size(ignored);
  }
  return size;
}

}  // namespace

std::string MirrorKey::id() const {
  return base::sha256_hex(text());
}

// Git reads the configuration of a repository: one that others could write would be theirs to command.
Result<void> MirrorStore::make_directory() const {
  CR_TRY(base::make_private_directories(directory_));
  struct stat status {};
  if (::lstat(directory_.c_str(), &status) != 0) return base::fail(base::errno_error("look at", directory_.native()));
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return base::fail(Code::failed_precondition,
                      fmt::format("cannot keep mirrors in '{}': it is not this user's alone", directory_.native()));
  return {};
}

Result<std::optional<MirrorUse>> MirrorStore::open(const MirrorKey& key) const {
  MirrorUse use{.folder = directory_ / key.id()};
  if (!is_there(packed_refs(use)) || is_there(use.folder / kSuspect)) return std::nullopt;
  CR_TRY(make_directory());
  auto lock = try_lock(use.folder / kUseLock, LOCK_SH);
  if (!lock) return std::nullopt;
  use.use_lock = std::move(*lock);
  touch(use.folder / kUsed);
  return use;
}

Result<std::optional<MirrorUse>> MirrorStore::open_to_fill(const MirrorKey& key) const {
  CR_TRY(make_directory());
  MirrorUse use{.folder = directory_ / key.id()};
  if (is_there(use.folder / kSuspect) && !remove(use.folder)) return std::nullopt;
  CR_TRY(base::make_private_directories(use.folder));
  auto fill = try_lock(use.folder / kFillLock, LOCK_EX);
  if (!fill) return std::nullopt;
  use.fill_lock = std::move(*fill);
  auto lock = try_lock(use.folder / kUseLock, LOCK_SH);
  if (!lock) return std::nullopt;
  use.use_lock = std::move(*lock);
  CR_TRY(base::write_file_atomically(use.folder / kKey, key.text()));
  CR_TRY(make_repository(use));
  clear_leftovers(use.repository());
  touch(use.folder / kUsed);
  return use;
}

void MirrorStore::suspect(const MirrorKey& key) const {
  touch(directory_ / key.id() / kSuspect);
}

bool MirrorStore::make_exclusive(const MirrorUse& use) {
  return ::flock(use.use_lock.get(), LOCK_EX | LOCK_NB) == 0;
}

// Out of the way by one rename, so that nobody meets half of it.
bool MirrorStore::remove(const fs::path& folder) const {
  const auto fill = try_lock(folder / kFillLock, LOCK_EX);
  const auto use = try_lock(folder / kUseLock, LOCK_EX);
  if (!fill || !use) return false;
  std::error_code ec;
  const auto away = directory_ / (std::string(kRemoved) + base::random_hex(8));
  fs::rename(folder, away, ec);
  if (ec) return false;
  fs::remove_all(away, ec);
  return true;
}

Result<std::uint64_t> MirrorStore::trim() const {
  struct Entry {
    fs::path folder;
    fs::file_time_type used;
    std::uint64_t size;
  };
  std::vector<Entry> entries;
  std::uint64_t total = 0;
  std::error_code ec;
  for (fs::directory_iterator it(directory_, ec), end; !ec && it != end; it.increment(ec)) {
    const auto name = it->path().filename().native();
    std::error_code ignored;
    if (name.starts_with(kRemoved)) fs::remove_all(it->path(), ignored);
    if (name.size() != kIdDigits) continue;
    if (is_there(it->path() / kSuspect) && remove(it->path())) continue;
    entries.push_back({it->path(), fs::last_write_time(it->path() / kUsed, ignored), disk_size_of(it->path())});
    total += entries.back().size;
  }
  if (ec) return base::fail(base::errno_error("list", directory_.native(), ec.value()));
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const auto& entry : entries) {
    if (total <= max_bytes_) break;
    if (remove(entry.folder)) total -= entry.size;
  }
  return total;
}

Result<MirrorTips> MirrorStore::read_tips(const MirrorUse& use) {
  MirrorTips tips;
  if (!is_there(packed_refs(use))) return tips;
  CR_ASSIGN(const auto text, base::read_file(packed_refs(use), kMaxPackedRefs));
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const auto id = ObjectId::parse(line.substr(0, ObjectId::kHexSize));
    if (!id || line.size() <= ObjectId::kHexSize) continue;
    const auto name = line.substr(ObjectId::kHexSize + 1);
    if (name.starts_with(kHeads)) tips.heads.insert(*id);
    if (name.starts_with(kTags)) tips.tags.insert(*id);
  }
  return tips;
}

// A ref is named by its object: upstream's names are not needed here, and cannot be odd. The format is that of
// git-pack-refs(1); its header promises the order.
Result<void> MirrorStore::write_tips(const MirrorUse& use, const MirrorTips& tips) {
  std::string text = "# pack-refs with: sorted \n";
  const auto add = [&text](std::string_view prefix, const std::set<ObjectId>& ids) {
    for (const auto& id : ids)
      text.append(id.hex()).append(" ").append(prefix).append(id.hex()).append("\n");
  };
  add(kHeads, tips.heads);
  add(kTags, tips.tags);
  return base::write_file_atomically(packed_refs(use), text);
}

std::size_t MirrorStore::packs(const MirrorUse& use) {
  std::size_t count = 0;
  std::error_code ec;
  for (fs::directory_iterator it(use.repository() / "objects/pack", ec), end; !ec && it != end; it.increment(ec))
    count += it->path().extension() == ".pack" ? 1 : 0;
  return count;
}

}  // namespace cleanroom::git_gateway
