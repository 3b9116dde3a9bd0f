#pragma once
// suggest: from what a run asked of the network to the smallest `allow` entries that give it. Pure: observations in,
// rules and YAML out. The observations' text may be a guest's: hosts are parsed again, and what is no host is counted.
//
// Nothing is generalised: no wildcard, no range, no port that was not asked for. What no entry may open, because a deny
// rule, the address, or the operator's ceiling forbids it, or because it would be a hole (another host's SNI), is
// listed with the reason instead.
#include "src/model/host_name.h"
#include "src/model/reason.h"
#include "src/policy/ceiling.h"
#include "src/policy/network_rules.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::policy {

inline constexpr std::size_t kMaxSuggestions = 2000;     // entries of one policy
inline constexpr std::size_t kMaxObservations = 20'000;  // distinct ones; the rest is one count

// What happened, once or `count` times.
struct Observation {
  std::string host;        // as a log has it
  std::uint16_t port = 0;  // 0: not known, the name was refused before a port was said
  model::Reason reason = model::Reason::allowed;
  bool opaque_tls = false;  // allowed: port 443 carried no SNI, or no TLS
  std::string address;      // dialled, or denied; may be empty
  std::string rule;         // the deciding rule; may be empty
  auto operator<=>(const Observation&) const = default;
};

// Collects observations, bounded whatever a guest does.
class Observations {
 public:
  void add(Observation observation, std::uint64_t count = 1);
  void add_invalid() { ++invalid_; }
  const std::map<Observation, std::uint64_t>& counts() const { return counts_; }
  std::uint64_t not_kept() const { return not_kept_; }  // events beyond kMaxObservations
  std::uint64_t invalid() const { return invalid_; }    // lines of a log that are none

 private:
  std::map<Observation, std::uint64_t> counts_;
  std::uint64_t not_kept_ = 0;
  std::uint64_t invalid_ = 0;
};

struct SuggestedRule {
  std::string host;                  // canonical
  std::vector<std::uint16_t> ports;  // sorted; empty: {80, 443}, the default
  TlsMode tls = TlsMode::sni;
  std::uint64_t count = 0;
  std::vector<std::string> notes;  // lines for a comment
};

struct NotSuggested {
  std::string host;
  std::uint16_t port = 0;
  model::Reason reason = model::Reason::host_denied;
  std::uint64_t count = 0;
  std::string why;  // for people
};

struct Suggestion {
  std::vector<SuggestedRule> rules;  // by host
  std::vector<NotSuggested> not_suggested;
  std::uint64_t connections = 0;  // that were refused or recorded, all counts together
  std::uint64_t served = 0;       // of these, by `rules`
  std::uint64_t not_listed = 0;   // beyond the caps: hostile or absurd
};

// Refusals become rules, and so do the connections of a recorded run (its rules begin with kRecordRulePrefix); what a
// policy allows already needs none. `limits` null: no ceiling is known.
Suggestion suggest(const Observations& observations, const CeilingLimits* limits);

// A whole valid cleanroom.yaml with these rules; `title` lines become its first comment. Text of a guest is in it as
// canonical host names only.
std::string to_policy_yaml(const Suggestion& suggestion, const std::vector<std::string>& title);
// The entries alone, indented as in to_policy_yaml(), and comments on what is not suggested; at most `max_lines`, the
// last of which then says how many are left out.
std::vector<std::string> to_yaml_lines(const Suggestion& suggestion, std::size_t max_lines);

}  // namespace cleanroom::policy
