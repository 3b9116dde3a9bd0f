#include "src/runner/run_directory.h"

#include "src/base/os/ascii.h"
#include "src/base/os/clock.h"
#include "src/base/os/io.h"
#include "src/base/os/random.h"
#include "src/base/os/temp_dir.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace cleanroom::runner {

using base::Result;

namespace {

// Sorts by time as text, to the millisecond: 20261123-204512123-1f2e3d4c.
std::string new_run_id() {
  std::string id;
  for (const char c : base::format_utc_now().substr(0, 23)) {
    if (c == 'T') id += '-';
    if (base::is_ascii_digit(c)) id += c;
  }
  return id + "-" + base::random_hex(4);
}

constexpr const char* kKeepMark = "keep";
constexpr std::chrono::hours kAbandoned{1};

// A run that still lives holds its lock.
bool is_alive(const std::filesystem::path& run) {
  const auto lock = base::open_file(run / "lock", O_RDWR);
  if (!lock) return false;
  return ::flock(lock->get(), LOCK_EX | LOCK_NB) != 0;
}

// All of them, newest first; live ones too. A name with a dot is a run being made, and its lock may not be held yet: it
// counts once it is old.
std::vector<std::filesystem::path> all_runs(const std::filesystem::path& runs) {
  std::vector<std::filesystem::path> found;
  std::error_code ec;
  std::filesystem::directory_iterator entry(runs, ec);
  for (; !ec && entry != std::filesystem::directory_iterator(); entry.increment(ec)) {
    std::error_code ignored;
    if (entry->is_symlink(ignored) || !entry->is_directory(ignored)) continue;
    const bool in_the_making = entry->path().filename().native().starts_with('.');
    const auto since = [&] { return std::filesystem::file_time_type::clock::now() - entry->last_write_time(ignored); };
    if (!in_the_making || since() >= kAbandoned) found.push_back(entry->path());
  }
  std::sort(found.begin(), found.end(), std::greater<>());
  return found;
}

}  // namespace

Result<void> RunDirectory::sweep(const std::filesystem::path& state) {
  std::error_code ec;
  std::size_t kept_disks = 0;
  std::size_t records = 0;
  // Newest first: what is beyond a limit is the oldest. A live run has its work/, and most others have none: one look
  // at each is all.
  for (const auto& run : all_runs(state / "runs")) {
    const bool has_work = std::filesystem::exists(run / "work", ec);
    if (has_work && is_alive(run)) continue;
    if (++records > kKeptRuns) {
      std::filesystem::remove_all(run, ec);
      continue;
    }
    if (!has_work) continue;
    const bool marked = std::filesystem::exists(run / kKeepMark, ec);
    if (marked && ++kept_disks <= kKeptDisks) continue;
    std::filesystem::remove_all(run / "work", ec);
    std::filesystem::remove(run / kKeepMark, ec);
  }
  return {};
}

Result<RunDirectory> RunDirectory::create(const std::filesystem::path& state) {
  CR_TRY(base::make_private_directories(state / "runs"));
  CR_TRY(sweep(state));
  std::string id = new_run_id();
  const auto path = state / "runs" / id;
  // The lock exists before the directory has its name, so that a sweeper never sees a live run without one.
  CR_ASSIGN(auto fresh, base::TempDir::create(state / "runs", "." + id + "-"));
  CR_ASSIGN(auto lock, base::open_file(fresh.path() / "lock", O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return base::fail(base::errno_error("lock", path.native()));
  CR_TRY(base::make_private_directories(fresh.path() / "work"));
  if (::rename(fresh.path().c_str(), path.c_str()) != 0)
    return base::fail(base::errno_error("create directory", path.native()));
  (void)fresh.release();
  return RunDirectory(std::move(id), path, std::move(lock));
}

RunDirectory::~RunDirectory() {
  if (!lock_) return;
  std::error_code ec;  // the next start's sweep takes what could not be removed now
  if (!keep_work_) {
    std::filesystem::remove_all(work(), ec);
  } else {
    (void)base::open_file(path_ / kKeepMark, O_WRONLY | O_CREAT, 0600);
  }
}

}  // namespace cleanroom::runner
