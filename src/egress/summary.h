#pragma once
// What a run asked of the network: counts by host and port for run.json and for the closing lines of a job log.
#include "src/model/reason.h"

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace cleanroom::egress {

// One refusal, as it happens. All text is printable ASCII.
struct Denial {
  std::string host;        // canonical, or escaped and cut when it is no host
  std::uint16_t port = 0;  // 0: the request named none that is valid
  model::Reason reason = model::Reason::host_not_allowed;
  std::string rule;    // key path of the deciding rule; empty for the default
  std::string detail;  // may be empty
  // How often this host, port and reason has been refused, this time included. 1 = worth a line in the job log.
  std::uint64_t occurrence = 1;
};

struct SummaryEntry {
  std::string host;
  std::uint16_t port = 0;
  model::Reason reason = model::Reason::allowed;
  std::string rule;  // of the first one
  std::uint64_t count = 0;
};

struct Summary {
  std::vector<SummaryEntry> allowed;  // by host, then port
  std::vector<SummaryEntry> denied;
  std::uint64_t allowed_total = 0;
  std::uint64_t denied_total = 0;
  std::uint64_t not_listed = 0;  // verdicts of hosts beyond kMaxSummaryEntries
  std::uint64_t bytes_up = 0;    // of tunnels that have ended
  std::uint64_t bytes_down = 0;
  std::uint64_t open_connections = 0;
  std::uint64_t audit_lost = 0;
};

// Collects verdicts. A TLS tunnel counts as allowed once its ClientHello has passed; a plain HTTP one when it is open,
// so that a later request with another Host appears as a refusal beside it.
class Tally {
 public:
  // How often this host, port and reason has occurred, this one included; 2 for any beyond the table, so that nobody
  // announces them one by one.
  std::uint64_t count(const std::string& host, std::uint16_t port, model::Reason reason, const std::string& rule);
  void add_bytes(std::uint64_t up, std::uint64_t down);
  Summary summary() const;

 private:
  std::map<std::tuple<std::string, std::uint16_t, model::Reason>, SummaryEntry> entries_;
  Summary totals_;
};

}  // namespace cleanroom::egress
