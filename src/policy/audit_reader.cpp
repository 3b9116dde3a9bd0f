#include "src/policy/audit_reader.h"

#include "src/base/os/io.h"
#include "src/base/text/json.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

namespace cleanroom::policy {
namespace {

using base::Json;

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::uint64_t number_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::optional<model::Reason> reason_of(const std::string& text) {
  for (const auto reason : model::all_reasons()) {
    if (model::to_string(reason) == text) return reason;
  }
  return std::nullopt;
}

// One verdict counts once: on port 443 a connection that may open has a line for its name and one for its ClientHello,
// and the second one decides.
bool is_decided_later(const std::string& event, const Observation& seen) {
  return event == "connect" && seen.reason == model::Reason::allowed && seen.port == 443;
}

void take_line(AuditReading& reading, std::string_view text) {
  if (text.empty()) return;
  const auto line =
      base::parse_json(text, "audit line", {.max_bytes = kMaxAuditLine, .max_depth = 4, .max_values = 64});
  if (!line || !line->is_object()) return reading.observations.add_invalid();
  const auto event = text_of(*line, "event");
  if (event == "gap") {
    reading.lost += number_of(*line, "lost");
    return;
  }
  const bool is_verdict = event == "connect" || event == "tls" || event == "http" || event == "report";
  if (!is_verdict) return;
  const auto reason = reason_of(text_of(*line, "reason"));
  const auto port = number_of(*line, "port");
  if (!reason || port > 65535) return reading.observations.add_invalid();
  Observation seen{.host = text_of(*line, "host"),
                   .port = static_cast<std::uint16_t>(port),
                   .reason = *reason,
                   .address = text_of(*line, "address"),
                   .rule = text_of(*line, "rule")};
  if (is_decided_later(event, seen)) return;
  const auto detail = text_of(*line, "detail");
  seen.opaque_tls = event == "tls" && *reason == model::Reason::allowed && (detail == "no SNI" || detail == "no TLS");
  reading.observations.add(std::move(seen));
}

}  // namespace

base::Result<AuditReading> read_audit(const std::filesystem::path& path, std::uint64_t max_bytes) {
  CR_ASSIGN(const auto file, base::open_file(path, O_RDONLY | O_NONBLOCK));  // a FIFO must not hold us
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return base::fail(base::Code::invalid_input,
                      fmt::format("cannot read the audit log '{}': not a regular file", path.native()));
  }
  AuditReading reading;
  std::string pending;
  bool skipping = false;  // the rest of a line that is too long
  std::vector<std::byte> buffer(256 * 1024);
  for (std::uint64_t total = 0;;) {
    const auto room = std::min<std::uint64_t>(buffer.size(), max_bytes - total);
    CR_ASSIGN(const auto n, base::read_some(file, std::span(buffer).first(room == 0 ? 1 : room)));
    if (n == 0) break;
    if (room == 0) {
      reading.cut = true;
      break;
    }
    total += n;
    pending += base::as_text(std::span<const std::byte>(buffer).first(n));
    std::size_t from = 0;
    for (auto end = pending.find('\n'); end != std::string::npos; end = pending.find('\n', from)) {
      if (!std::exchange(skipping, false)) take_line(reading, std::string_view(pending).substr(from, end - from));
      from = end + 1;
    }
    pending.erase(0, from);
    if (pending.size() <= kMaxAuditLine) continue;
    if (!std::exchange(skipping, true)) reading.observations.add_invalid();
    pending.clear();
  }
  // A last line without its end is one that was being written: it is no event yet.
  return reading;
}

}  // namespace cleanroom::policy
