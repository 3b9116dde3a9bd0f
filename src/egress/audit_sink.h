#pragma once
// AuditSink: a second place for the lines of audit.jsonl, which the operator ships from (config.yaml, `audit`): a file
// that many runs append to, or a Unix stream socket that somebody listens on. docs/audit.md has the table.
//
// A thread of its own opens, connects and writes, so that neither a stalled receiver nor a slow file system ever holds
// the job back. Lines wait in a bounded backlog; one that does not fit is counted, and the next one that does comes
// after a `gap` line that says how many are missing. A file gets each line in one write(2) with O_APPEND: lines of
// concurrent runs do not mix.
#include "src/base/os/clock.h"
#include "src/base/os/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace cleanroom::egress {

struct AuditSinkOptions {
  enum class Kind { file, socket };
  Kind kind = Kind::file;
  std::filesystem::path path;            // absolute
  std::size_t max_backlog = 32u << 20u;  // bytes; at 10,000 events a second some ten seconds without a receiver
  std::chrono::milliseconds retry{500};  // between attempts to open, connect or write again
};

class AuditSink {
 public:
  struct Counters {
    std::uint64_t events = 0;   // handed to write()
    std::uint64_t written = 0;  // lines the file has, or the receiver's socket has taken
    std::uint64_t lost = 0;     // did not fit, or were waiting when close() gave up
  };
  // Attempts to open it once, here, so that the caller can refuse to start; a sink that does not open is tried again by
  // its thread. The error of that attempt, if any, is opened(). Blocks as long as open(2) does.
  AuditSink(AuditSinkOptions options, std::string run_id);
  ~AuditSink();  // close() without waiting for a receiver; may wait a second for the thread
  AuditSink(const AuditSink&) = delete;
  AuditSink& operator=(const AuditSink&) = delete;

  const base::Result<void>& opened() const { return opened_; }
  std::string describe() const;  // "file '/var/log/cleanroom.jsonl'"
  // `line` is one JSON object and a newline. Never blocks on the receiver.
  void write(const std::string& line);
  // Waits until everything is delivered or the deadline has passed; what then waits is lost. Nothing is written after
  // it.
  Counters close(base::Deadline deadline);
  Counters counters() const;

 private:
  struct Shared;
  base::Result<void> opened_;
  std::shared_ptr<Shared> shared_;  // with the thread, which a write that never returns may outlive us in
};

// `{"ts":…,"run_id":…,"event":"gap","lost":n}` and a newline.
std::string audit_gap_line(const std::string& run_id, std::uint64_t lost);

}  // namespace cleanroom::egress
