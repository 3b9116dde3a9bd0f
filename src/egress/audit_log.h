#pragma once
// AuditLog: audit.jsonl of one run: one JSON object a line, one line a verdict. Fields: docs/audit.md.
//
// Text from guests and peers is made printable ASCII and cut (guest_text.h), so a line is always one valid JSON object.
// Nothing is lost silently: a line that cannot be written is counted, and the next one that can be says how many.
#include "src/base/os/fd.h"
#include "src/base/os/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace cleanroom::egress {

struct AuditEvent {
  std::string_view event;   // "connect", "tls", "http", "report", "close", "gateway", "credential"
  std::string_view action;  // "allow", "deny"; empty for close
  std::uint64_t connection = 0;
  std::string host;  // canonical, or the text as sent when it is not a host
  std::optional<std::uint16_t> port;
  std::string address;      // judged and dialled, or the one that was denied
  std::string_view reason;  // model::Reason
  std::string rule;
  std::string detail;
  std::optional<std::string> sni;
  std::optional<bool> ech;
  std::optional<std::uint64_t> bytes_up;
  std::optional<std::uint64_t> bytes_down;
  std::optional<std::uint64_t> duration_ms;
  // Of gateway requests and credential uses.
  std::string service;                  // "git"
  std::string method;                   // of the request: "GET"; of a credential use: "git-read"
  std::string path;                     // canonical, without the query
  std::optional<std::uint64_t> status;  // what the guest was answered
  std::string cache;                    // "hit", "miss", "bypass"; empty without a cache
  std::string binding;                  // id of the credential binding; never its value
  std::string source;                   // kind of the binding's source: "env", "file", ...
};

class AuditSink;  // audit_sink.h

class AuditLog {
 public:
  struct Counters {
    std::uint64_t events = 0;   // handed to write()
    std::uint64_t written = 0;  // lines in the file
    std::uint64_t lost = 0;     // not in the file: it was full or could not be written
  };
  // Appends to `path`, made with mode 0600.
  static base::Result<std::unique_ptr<AuditLog>> open(const std::filesystem::path& path, std::string run_id);
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  // Each line goes there too, from now on. `sink` outlives this.
  void copy_to(AuditSink& sink) { sink_ = &sink; }
  // Writes to a local file, and does not wait for the disk.
  void write(const AuditEvent& event);
  Counters counters() const;

 private:
  AuditLog(base::Fd fd, std::string run_id);
  void append(std::string line);
  void flush();

  AuditSink* sink_ = nullptr;
  base::Fd fd_;
  std::string run_id_;
  std::string backlog_;  // whole lines but for the first, which may be half in the file already
  std::uint64_t backlog_lines_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t unreported_loss_ = 0;
  Counters counters_;
};

}  // namespace cleanroom::egress
