#include "src/backends/template_store.h"

#include "src/backends/jail/vmm_profile.h"
#include "src/backends/sparse_digest.h"
#include "src/backends/template_manifest.h"
#include "src/base/net/sha256.h"
#include "src/base/os/io.h"
#include "src/base/os/random.h"
#include "src/base/os/sparse_file.h"
#include "src/base/os/temp_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace cleanroom::backends {

using base::Code;
using base::Result;

namespace {

constexpr const char* kMemory = "memory";
constexpr const char* kState = "state";
constexpr const char* kScratch = "scratch";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kMakingPrefix = ".new-";
constexpr std::size_t kMaxState = 64 << 20;
constexpr std::size_t kMaxManifest = 16 * 1024;

base::Failure unusable(std::string why) {
  return base::fail(Code::failed_precondition, std::move(why));
}

// A regular file of this user's that nobody else can reach under another name.
Result<base::Fd> open_own(const base::Fd& directory, const char* name) {
  CR_ASSIGN(auto file, base::open_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return base::fail(base::errno_error("look at", name));
  // The VMMs of a runner that is root have a group of their own, and may read.
  const mode_t others = status.st_gid == jail::kVmmGroup ? 037 : 077;
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & others) != 0 ||
      status.st_nlink != 1)
    return unusable(fmt::format("its file '{}' is not this user's alone", name));
  return file;
}

// The right to a directory among processes; the kernel drops it when the holder dies.
bool try_lock(const base::Fd& directory) {
  return ::flock(directory.get(), LOCK_EX | LOCK_NB) == 0;
}

bool is_same(const base::Fd& opened, const std::filesystem::path& path) {
  struct stat a {};
  struct stat b {};
  return ::fstat(opened.get(), &a) == 0 && ::lstat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

struct Entry {
  std::filesystem::path path;
  std::chrono::system_clock::time_point last_used;
  std::uint64_t bytes = 0;  // on the disk
};

Entry measure(const std::filesystem::path& path) {
  Entry entry{path, {}, 0};
  struct stat status {};
  for (const auto* name : {kMemory, kState, kScratch}) {
    if (::lstat((path / name).c_str(), &status) == 0) entry.bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  if (::lstat((path / kManifest).c_str(), &status) == 0)
    entry.last_used = std::chrono::system_clock::from_time_t(status.st_mtim.tv_sec);
  return entry;
}

}  // namespace

std::string template_key(std::string_view snapshot_identity, std::string_view image_digest) {
  return base::sha256_hex(fmt::format("template {}\n{}\n{}", kTemplateFormat, image_digest, snapshot_identity));
}

TemplateBuild::TemplateBuild(TemplateBuild&& other) noexcept
    : root_(std::move(other.root_)), key_(std::move(other.key_)), lock_(std::move(other.lock_)) {}

TemplateBuild::~TemplateBuild() {
  if (!lock_) return;
  std::error_code ec;  // collect() takes what could not be removed now
  std::filesystem::remove_all(directory(), ec);
}

SnapshotFiles TemplateBuild::files() const {
  return {directory() / kMemory, directory() / kState};
}

std::filesystem::path TemplateBuild::scratch() const {
  return directory() / kScratch;
}

Result<void> TemplateBuild::publish() {
  TemplateManifest manifest{.key = key_};
  base::fill_random(manifest.memory_key);
  base::fill_random(manifest.scratch_key);
  CR_ASSIGN(const auto memory, open_own(lock_, kMemory));
  CR_ASSIGN(const auto digest, digest_sparse(memory, manifest.memory_key));
  manifest.memory_tag = digest.tag;
  manifest.memory_bytes = digest.size;
  CR_ASSIGN(const auto scratch, open_own(lock_, kScratch));
  CR_ASSIGN(const auto scratch_digest, digest_sparse(scratch, manifest.scratch_key));
  manifest.scratch_tag = scratch_digest.tag;
  CR_ASSIGN(const auto state, open_own(lock_, kState));
  CR_ASSIGN(const auto content, base::read_all(state, kState, kMaxState));
  manifest.state_sha256 = base::sha256_hex(content);
  CR_ASSIGN(const auto file, base::open_at(lock_, kManifest, O_WRONLY | O_CREAT | O_EXCL, 0600));
  CR_TRY(base::write_all(file, to_json(manifest)));
  const auto target = root_ / key_;
  if (::rename(directory().c_str(), target.c_str()) != 0)
    return base::fail(base::errno_error("publish", target.native()));
  lock_.reset();
  return {};
}

Result<Template> TemplateStore::read(const std::string& key) const {
  CR_ASSIGN(const auto directory, base::open_file(root_ / key, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  struct stat status {};
  if (::fstat(directory.get(), &status) != 0 || status.st_uid != ::geteuid() || (status.st_mode & 022) != 0)
    return unusable("its directory is not this user's alone");
  CR_ASSIGN(const auto file, open_own(directory, kManifest));
  CR_ASSIGN(const auto text, base::read_all(file, kManifest, kMaxManifest));
  CR_ASSIGN(const auto manifest, parse_template_manifest(text));
  if (manifest.key != key) return unusable("it was made under another key");
  CR_ASSIGN(const auto memory, open_own(directory, kMemory));
  if (::fstat(memory.get(), &status) != 0 || static_cast<std::uint64_t>(status.st_size) != manifest.memory_bytes)
    return unusable("its memory has another size than it was made with");
  CR_ASSIGN(const auto state, open_own(directory, kState));
  CR_ASSIGN(const auto content, base::read_all(state, kState, kMaxState));
  if (base::sha256_hex(content) != manifest.state_sha256) return unusable("its state is not as it was saved");
  CR_TRY(open_own(directory, kScratch));
  (void)::futimens(file.get(), nullptr);  // the last use
  return Template{.key = key,
                  .files = {root_ / key / kMemory, root_ / key / kState},
                  .scratch = root_ / key / kScratch,
                  .memory_key = manifest.memory_key,
                  .memory_tag = manifest.memory_tag,
                  .memory_bytes = manifest.memory_bytes,
                  .scratch_key = manifest.scratch_key,
                  .scratch_tag = manifest.scratch_tag};
}

Result<Template> TemplateStore::find(const std::string& key) const {
  std::error_code ec;
  if (!std::filesystem::exists(std::filesystem::symlink_status(root_ / key, ec)))
    return base::fail(Code::not_found, "there is no such template");
  auto found = read(key);
  if (found) return found;
  remove(key);
  return unusable(found.error().message);
}

Result<void> TemplateStore::verify_memory(const Template& found) {
  CR_ASSIGN(const auto file, base::open_file(found.files.memory, O_RDONLY | O_NOFOLLOW));
  CR_ASSIGN(const auto digest, digest_sparse(file, found.memory_key));
  if (digest.tag != found.memory_tag || digest.size != found.memory_bytes)
    return unusable("its memory is not as it was saved");
  return {};
}

Result<void> TemplateStore::copy_scratch(const Template& found, const base::Fd& disk) {
  CR_ASSIGN(const auto file, base::open_file(found.scratch, O_RDONLY | O_NOFOLLOW));
  CR_TRY(base::copy_sparse(file, disk));
  CR_ASSIGN(const auto digest, digest_sparse(disk, found.scratch_key));
  if (digest.tag != found.scratch_tag) return unusable("its scratch disk is not as it was saved");
  return {};
}

Result<std::optional<TemplateBuild>> TemplateStore::begin(const std::string& key) const {
  CR_TRY(base::make_private_directories(root_));
  const auto path = root_ / (kMakingPrefix + key);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return base::fail(base::errno_error("make", path.native()));
  auto directory = base::open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!directory && directory.error().code == Code::not_found) return std::optional<TemplateBuild>();  // just published
  if (!directory) return base::fail(std::move(directory).error());
  std::error_code ec;
  const bool ours = try_lock(*directory) && is_same(*directory, path);
  if (!ours || std::filesystem::exists(std::filesystem::symlink_status(root_ / key, ec))) {
    if (ours) std::filesystem::remove(path, ec);
    return std::optional<TemplateBuild>();
  }
  // What a maker that was killed has left.
  for (const auto* name : {kMemory, kState, kScratch, kManifest})
    std::filesystem::remove(path / name, ec);
  return std::optional(TemplateBuild(root_, key, std::move(*directory)));
}

void TemplateStore::remove(const std::string& key) const {
  std::error_code ec;
  std::filesystem::remove_all(root_ / key, ec);
}

void TemplateStore::collect(const TemplateLimits& limits) const {
  std::vector<Entry> entries;
  std::error_code ec;
  for (std::filesystem::directory_iterator entry(root_, ec), end; !ec && entry != end; entry.increment(ec)) {
    const auto name = entry->path().filename().native();
    if (!name.starts_with(kMakingPrefix)) {
      entries.push_back(measure(entry->path()));
      continue;
    }
    const auto directory = base::open_file(entry->path(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    std::error_code ignored;
    if (directory && try_lock(*directory)) std::filesystem::remove_all(entry->path(), ignored);
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.last_used > b.last_used; });
  const auto oldest = std::chrono::system_clock::now() - limits.unused_for;
  std::uint64_t kept = 0;
  for (const auto& entry : entries) {
    if (entry.last_used >= oldest && kept + entry.bytes <= limits.max_bytes) {
      kept += entry.bytes;
      continue;
    }
    std::error_code ignored;
    std::filesystem::remove_all(entry.path, ignored);
  }
}

}  // namespace cleanroom::backends
