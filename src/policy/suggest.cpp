#include "src/policy/suggest.h"

#include "src/policy/address_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace cleanroom::policy {
namespace {

using model::Reason;

constexpr std::uint16_t kTlsPort = 443;
constexpr std::string_view kReservedSuffix = ".cleanroom.internal";
constexpr std::size_t kMaxPorts = 64;  // of one rule: sandbox.network.allow[].ports

bool is_special(const model::IpAddress& address) {
  const auto inner = address.embedded_v4();
  return special_purpose(address) || (inner && special_purpose(*inner));
}

bool within(const std::vector<std::string>& ranges, const model::IpAddress& address) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const std::string& text) {
    const auto range = model::Cidr::parse(text);
    return range && range->contains(address);
  });
}

// What a reason other than a missing rule means to whoever reads the suggestion.
std::string why_not(Reason reason) {
  static const std::map<Reason, std::string> meanings{
      {Reason::host_denied, "a deny rule forbids it"},
      {Reason::ip_denied,
       "the address is not public or is denied; only the operator can open it (network.private_cidrs in ceiling.yaml), "
       "and then a rule for the address"},
      {Reason::sni_mismatch, "its TLS hello named another host"},
      {Reason::http_host_mismatch, "its request named another host, or was not plain HTTP/1.1"},
      {Reason::ech_denied, "the policy says ech: deny"},
      {Reason::connection_limit, "too many connections or new names"},
      {Reason::invalid_host, "it is no host name"},
      {Reason::git_repository_not_allowed, "git.allow does not name the repository"},
      {Reason::git_push_not_allowed, "git.allow does not say push: true"},
      {Reason::git_lfs_not_allowed, "git.allow says lfs: false"},
  };
  const auto found = meanings.find(reason);
  return found == meanings.end() ? "no rule changes that" : found->second;
}

// Neither asked for by the job in vain nor given: nothing to say about it.
bool is_no_refusal(Reason reason) {
  return reason == Reason::resolve_failed || reason == Reason::connect_failed || reason == Reason::cancelled;
}

class Suggester {
 public:
  explicit Suggester(const CeilingLimits* limits) : limits_(limits) {}

  void take(const Observation& seen, std::uint64_t count) {
    if (is_no_refusal(seen.reason)) return;
    const bool recorded = seen.rule.starts_with(kRecordRulePrefix);
    if (seen.reason == Reason::allowed && !recorded) return;
    out_.connections += count;
    const auto host = model::HostName::parse_wire(seen.host);
    if (!host || host->text() != seen.host) {
      refuse({.host = "(not a host name)", .reason = Reason::invalid_host, .count = count, .why = ""});
      return;
    }
    const bool served =
        seen.reason == Reason::allowed ? take_recorded(*host, seen, count) : take_refused(*host, seen, count);
    if (served) out_.served += count;
  }

  Suggestion finish() {
    for (auto& [host, wanted] : wanted_)
      emit(host, wanted);
    std::stable_sort(out_.not_suggested.begin(), out_.not_suggested.end(),
                     [](const NotSuggested& a, const NotSuggested& b) { return a.host < b.host; });
    return std::move(out_);
  }

 private:
  struct Wanted {
    std::set<std::uint16_t> ports;
    bool port_unknown = false;
    bool opaque = false;
    std::uint64_t count = 0;
    std::set<std::string> notes;
  };

  bool want(const std::string& host, std::uint16_t port, bool opaque, std::uint64_t count, std::string note = {}) {
    if (const auto conflict = conflict_of(host)) {
      refuse({.host = host, .port = port, .reason = Reason::policy_conflict, .count = count, .why = *conflict});
      return false;
    }
    if (!wanted_.contains(host) && wanted_.size() >= kMaxSuggestions) {
      out_.not_listed += count;
      return false;
    }
    auto& wanted = wanted_[host];
    if (port != 0)
      wanted.ports.insert(port);
    else
      wanted.port_unknown = true;
    wanted.opaque |= opaque;
    wanted.count += count;
    if (!note.empty()) wanted.notes.insert(std::move(note));
    return true;
  }

  bool take_recorded(const model::HostName& host, const Observation& seen, std::uint64_t count) {
    if (!want(host.text(), seen.port, seen.opaque_tls, count, seen.opaque_tls ? "no SNI was sent on port 443" : ""))
      return false;
    const auto address = model::IpAddress::parse(seen.address);
    if (host.is_ip() || !address) return true;
    // Behind a name, such an address needs a rule of its own.
    if (is_special(*address) || (limits_ != nullptr && within(limits_->private_cidrs, *address)))
      want(address->to_string(), seen.port, false, count, "address of " + host.text());
    return true;
  }

  bool take_refused(const model::HostName& host, const Observation& seen, std::uint64_t count) {
    const std::string in_place =
        seen.rule.empty() ? "" : fmt::format("; if {} names this very host, set it there", seen.rule);
    if (seen.reason == Reason::host_not_allowed || seen.reason == Reason::port_not_allowed)
      return want(host.text(), seen.port, false, count);
    if (seen.reason == Reason::sni_missing)
      return want(host.text(), seen.port, true, count, "no SNI was sent on port 443" + in_place);
    if (seen.reason == Reason::tls_invalid)
      return want(host.text(), seen.port, true, count, "what was sent on port 443 is no TLS" + in_place);
    const auto address = model::IpAddress::parse(seen.address.empty() ? host.text() : seen.address);
    const bool openable = seen.reason == Reason::ip_denied && address && limits_ != nullptr && seen.rule.empty() &&
                          within(limits_->private_cidrs, *address);
    if (openable)
      return want(address->to_string(), seen.port, false, count, host.is_ip() ? "" : "address of " + host.text());
    refuse(
        {.host = host.text(), .port = seen.port, .reason = seen.reason, .count = count, .why = why_not(seen.reason)});
    return false;
  }

  void refuse(NotSuggested refused) {
    if (refused.why.empty()) refused.why = why_not(refused.reason);
    const auto same =
        std::find_if(out_.not_suggested.begin(), out_.not_suggested.end(), [&](const NotSuggested& other) {
          return other.host == refused.host && other.port == refused.port && other.reason == refused.reason;
        });
    if (same != out_.not_suggested.end()) {
      same->count += refused.count;
    } else if (out_.not_suggested.size() < kMaxSuggestions) {
      out_.not_suggested.push_back(std::move(refused));
    } else {
      out_.not_listed += refused.count;
    }
  }

  // Why no policy of this host may have such a rule.
  std::optional<std::string> conflict_of(const std::string& host) {
    if (host.ends_with(kReservedSuffix)) return "the name is the gateway's own; git.allow says what it serves";
    const auto [known, fresh] = conflicts_.try_emplace(host);
    if (!fresh) return known->second;
    auto rules = NetworkRules::build({{.host = host, .ports = {}, .reason = {}, .key_path = "rule"}}, {});
    if (!rules) {
      known->second = "no rule may name it";
    } else if (limits_ != nullptr) {
      const auto conflicts = ceiling_conflicts(CompiledPolicy({}, std::move(*rules)), *limits_);
      if (!conflicts.empty()) known->second = "the operator's ceiling forbids it: " + conflicts.front().message;
    } else if (const auto name = model::HostName::parse_wire(host); name && name->is_ip() && is_special(name->ip())) {
      known->second = "the address is not public: only the operator's ceiling can allow such a rule";
    }
    return known->second;
  }

  void emit(const std::string& host, const Wanted& wanted) {
    auto ports = wanted.ports;
    std::vector<std::string> notes(wanted.notes.begin(), wanted.notes.end());
    if (wanted.port_unknown) {
      // Refused as a name: what would have been asked for next is most likely one of these.
      ports.insert({80, kTlsPort});
      notes.emplace_back("refused as a name, before a port was known");
    }
    if (notes.size() > 8) notes.resize(8);
    std::vector<std::uint16_t> list(ports.begin(), ports.end());
    if (list == std::vector<std::uint16_t>{80, kTlsPort}) list.clear();
    for (std::size_t at = 0; at == 0 || at < list.size(); at += kMaxPorts) {
      if (out_.rules.size() >= kMaxSuggestions) {
        ++out_.not_listed;
        return;
      }
      const auto end = std::min(list.size(), at + kMaxPorts);
      SuggestedRule rule{
          .host = host,
          .ports = {list.begin() + static_cast<std::ptrdiff_t>(at), list.begin() + static_cast<std::ptrdiff_t>(end)},
          .tls = wanted.opaque ? TlsMode::opaque : TlsMode::sni,
          .count = wanted.count,
          .notes = at == 0 ? notes : std::vector<std::string>{}};
      out_.rules.push_back(std::move(rule));
    }
  }

  const CeilingLimits* limits_;
  Suggestion out_;
  std::map<std::string, Wanted> wanted_;
  std::map<std::string, std::optional<std::string>> conflicts_;
};

// A plain scalar only where no reader of YAML could take it for a number, a null, a boolean or a mapping.
std::string yaml_scalar(const std::string& host) {
  const bool plain = !host.empty() && host.front() >= 'a' && host.front() <= 'z' && host.find('.') != std::string::npos;
  return plain ? host : '"' + host + '"';
}

std::string times(std::uint64_t count) {
  return count == 1 ? "once" : fmt::format("{} times", count);
}

std::vector<std::string> rule_lines(const SuggestedRule& rule) {
  std::vector<std::string> lines{fmt::format("      - host: {}  # {}", yaml_scalar(rule.host), times(rule.count))};
  if (!rule.ports.empty()) lines.push_back(fmt::format("        ports: [{}]", fmt::join(rule.ports, ", ")));
  if (rule.tls == TlsMode::opaque) lines.emplace_back("        tls: opaque");
  for (const auto& note : rule.notes)
    lines.push_back("        # " + note);
  return lines;
}

std::string refusal_line(const NotSuggested& refused) {
  const std::string port = refused.port == 0 ? "" : fmt::format(":{}", refused.port);
  const std::string host =
      refused.host.find(':') == std::string::npos || port.empty() ? refused.host : "[" + refused.host + "]";
  return fmt::format("      # not suggested: {}{} ({}), {}: {}", host, port, model::to_string(refused.reason),
                     times(refused.count), refused.why);
}

}  // namespace

void Observations::add(Observation observation, std::uint64_t count) {
  const auto found = counts_.find(observation);
  if (found != counts_.end()) {
    found->second += count;
  } else if (counts_.size() < kMaxObservations) {
    counts_.emplace(std::move(observation), count);
  } else {
    not_kept_ += count;
  }
}

Suggestion suggest(const Observations& observations, const CeilingLimits* limits) {
  Suggester suggester(limits);
  for (const auto& [seen, count] : observations.counts())
    suggester.take(seen, count);
  auto suggestion = suggester.finish();
  suggestion.not_listed += observations.not_kept();
  return suggestion;
}

std::vector<std::string> to_yaml_lines(const Suggestion& suggestion, std::size_t max_lines) {
  std::vector<std::string> lines;
  std::size_t left_out = 0;
  // An entry is shown whole or not at all: the first half of one would mean something else.
  const auto add = [&](std::vector<std::string> block) {
    if (left_out > 0 || lines.size() + block.size() >= max_lines)
      ++left_out;
    else
      lines.insert(lines.end(), std::make_move_iterator(block.begin()), std::make_move_iterator(block.end()));
  };
  for (const auto& rule : suggestion.rules)
    add(rule_lines(rule));
  for (const auto& refused : suggestion.not_suggested)
    add({refusal_line(refused)});
  if (left_out > 0) lines.push_back(fmt::format("      # and {} more", left_out));
  if (suggestion.not_listed > 0 && lines.size() < max_lines)
    lines.push_back(
        fmt::format("      # {} events are beyond what one policy can hold and are not listed", suggestion.not_listed));
  return lines;
}

std::string to_policy_yaml(const Suggestion& suggestion, const std::vector<std::string>& title) {
  std::string text;
  for (const auto& line : title)
    text += "# " + line + "\n";
  text += "version: 1\nsandbox:\n  network:\n    default: deny\n";
  text += suggestion.rules.empty() ? "    allow: []\n" : "    allow:\n";
  for (const auto& line : to_yaml_lines(suggestion, SIZE_MAX))
    text += line + "\n";
  return text;
}

}  // namespace cleanroom::policy
