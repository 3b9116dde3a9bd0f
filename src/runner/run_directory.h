#pragma once
// RunDirectory: <state>/runs/<run-id>/ of one run.
//   run.json, audit.jsonl, console.log   the record: stays
//   work/                                disks and staging: gone when the run ends, kept by --keep-on-failure
//   lock                                 held (flock) while the run lives
// A runner that was killed leaves its directory behind unlocked; the next start sweeps its work/ away and keeps at most
// kKeptRuns records.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <filesystem>
#include <string>

namespace cleanroom::runner {

inline constexpr std::size_t kKeptRuns = 200;
inline constexpr std::size_t kKeptDisks = 5;  // runs whose work/ stays for --keep-on-failure: a pipeline can ask for it

class RunDirectory {
 public:
  // Sweeps, then makes a new one.
  static base::Result<RunDirectory> create(const std::filesystem::path& state);
  // Only sweeps: what runs that no longer live have left.
  static base::Result<void> sweep(const std::filesystem::path& state);

  RunDirectory(RunDirectory&&) noexcept = default;
  RunDirectory& operator=(RunDirectory&&) = delete;
  ~RunDirectory();

  const std::string& id() const { return id_; }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path work() const { return path_ / "work"; }
  void keep_work() { keep_work_ = true; }

 private:
  RunDirectory(std::string id, std::filesystem::path path, base::Fd lock)
      : id_(std::move(id)), path_(std::move(path)), lock_(std::move(lock)) {}
  std::string id_;
  std::filesystem::path path_;
  base::Fd lock_;
  bool keep_work_ = false;
};

}  // namespace cleanroom::runner
