#pragma once
// Reads audit.jsonl (docs/audit.md) as observations. Streams; a line that is none of ours is counted, never believed.
#include "src/base/os/fd.h"
#include "src/policy/suggest.h"

#include <filesystem>

namespace cleanroom::policy {

inline constexpr std::uint64_t kMaxAuditRead = 100u << 20u;  // bytes; what follows is not read
inline constexpr std::size_t kMaxAuditLine = 64 * 1024;

struct AuditReading {
  Observations observations;
  std::uint64_t lost = 0;  // events that the log itself says it lacks
  bool cut = false;        // it is longer than kMaxAuditRead
};

// not_found and the like for the file; invalid_input when it is not a regular file. Blocks on reading it.
base::Result<AuditReading> read_audit(const std::filesystem::path& path, std::uint64_t max_bytes = kMaxAuditRead);

}  // namespace cleanroom::policy
