#include "src/egress/audit_log.h"

#include "src/base/os/clock.h"
#include "src/base/os/io.h"
#include "src/egress/audit_sink.h"
#include "src/egress/guest_text.h"
#include "src/egress/limits.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace cleanroom::egress {
namespace {

using Json = nlohmann::ordered_json;

std::string to_line(const Json& object) {
  return object.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

void put(Json& line, const char* key, std::string_view text) {
  if (!text.empty()) line[key] = guest_text(text, kMaxAuditFieldBytes);
}

template <class T>
void put(Json& line, const char* key, const std::optional<T>& value) {
  if (value) line[key] = *value;
}

}  // namespace

base::Result<std::unique_ptr<AuditLog>> AuditLog::open(const std::filesystem::path& path, std::string run_id) {
  CR_ASSIGN(auto fd, base::open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  return std::unique_ptr<AuditLog>(new AuditLog(std::move(fd), std::move(run_id)));
}

AuditLog::AuditLog(base::Fd fd, std::string run_id) : fd_(std::move(fd)), run_id_(std::move(run_id)) {}

AuditLog::~AuditLog() {
  flush();
}

void AuditLog::write(const AuditEvent& event) {
  ++counters_.events;
  Json line;
  line["ts"] = base::format_utc_now();
  line["run_id"] = run_id_;
  line["event"] = event.event;
  put(line, "action", event.action);
  line["connection"] = event.connection;
  put(line, "host", event.host);
  put(line, "port", event.port);
  put(line, "address", event.address);
  put(line, "reason", event.reason);
  put(line, "rule", event.rule);
  put(line, "detail", event.detail);
  if (event.sni) line["sni"] = guest_text(*event.sni, kMaxAuditFieldBytes);
  put(line, "ech", event.ech);
  put(line, "bytes_up", event.bytes_up);
  put(line, "bytes_down", event.bytes_down);
  put(line, "duration_ms", event.duration_ms);
  put(line, "service", event.service);
  put(line, "method", event.method);
  put(line, "path", event.path);
  put(line, "status", event.status);
  put(line, "cache", event.cache);
  put(line, "binding", event.binding);
  put(line, "source", event.source);
  auto text = to_line(line);
  if (sink_ != nullptr) sink_->write(text);
  append(std::move(text));
}

void AuditLog::append(std::string line) {
  flush();
  if (bytes_ + backlog_.size() + line.size() > kMaxAuditBytes || backlog_.size() + line.size() > kMaxAuditBacklog) {
    ++unreported_loss_;
    return;
  }
  if (unreported_loss_ > 0) {
    line.insert(0, audit_gap_line(run_id_, unreported_loss_));
    counters_.lost += unreported_loss_;
    unreported_loss_ = 0;
  }
  backlog_ += line;
  ++backlog_lines_;
  flush();
}

void AuditLog::flush() {
  while (!backlog_.empty()) {
    const auto written = ::write(fd_.get(), backlog_.data(), backlog_.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes_ += static_cast<std::uint64_t>(written);
    backlog_.erase(0, static_cast<std::size_t>(written));
  }
  counters_.written += backlog_lines_;
  backlog_lines_ = 0;
}

AuditLog::Counters AuditLog::counters() const {
  auto counters = counters_;
  counters.lost += unreported_loss_;
  return counters;
}

}  // namespace cleanroom::egress
