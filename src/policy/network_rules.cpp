#include "src/policy/network_rules.h"

#include "src/policy/address_rules.h"
#include "src/policy/host_pattern.h"

#include <algorithm>
#include <array>
#include <set>
#include <unordered_map>
#include <utility>

namespace cleanroom::policy {
namespace {

constexpr std::array<std::uint16_t, 2> kDefaultPorts{80, 443};

using RuleIndexes = std::vector<std::uint32_t>;

// CIDRs by network, and the distinct lengths in use: at most 33 + 129 look-ups however many rules there are.
class CidrTable {
 public:
  void add(const model::Cidr& cidr, std::uint32_t rule) {
    table_[cidr].push_back(rule);
    (cidr.network().is_v4() ? v4_lengths_ : v6_lengths_).insert(cidr.length());
  }
  // Calls visit(rule index) for every rule whose range has the address, longest prefix first, until it returns true.
  template <class Visit>
  bool find(const model::IpAddress& address, Visit visit) const {
    const auto& lengths = address.is_v4() ? v4_lengths_ : v6_lengths_;
    for (auto length = lengths.rbegin(); length != lengths.rend(); ++length) {
      const auto entry = table_.find(model::Cidr::network_of(address, *length));
      if (entry != table_.end() && std::any_of(entry->second.begin(), entry->second.end(), visit)) return true;
    }
    return false;
  }

 private:
  std::unordered_map<model::Cidr, RuleIndexes> table_;
  std::set<int> v4_lengths_;
  std::set<int> v6_lengths_;
};

// Names by their text: exact ones, and wildcards by what stands after `*.`.
class NameTable {
 public:
  void add(const std::string& name, std::uint32_t rule) { table_[name].push_back(rule); }
  template <class Visit>
  bool find(const std::string& name, Visit visit) const {
    const auto entry = table_.find(name);
    return entry != table_.end() && std::any_of(entry->second.begin(), entry->second.end(), visit);
  }
  // Every proper parent of the name, nearest first.
  template <class Visit>
  bool find_parents(const std::string& name, Visit visit) const {
    if (table_.empty()) return false;
    for (auto dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
      if (find(name.substr(dot + 1), visit)) return true;
    }
    return false;
  }

 private:
  std::unordered_map<std::string, RuleIndexes> table_;
};

struct RuleSet {
  std::vector<NetworkRuleSpec> rules;
  NameTable exact;
  NameTable wildcard;
  CidrTable cidrs;

  bool covers(std::uint32_t rule, std::uint16_t port) const {
    const auto& ports = rules[rule].ports;
    return ports.empty() || std::binary_search(ports.begin(), ports.end(), port);
  }
};

enum class Side { allow, deny, recording };

void compile_rule(RuleSet& set, NetworkRuleSpec spec, Side side, std::vector<RuleProblem>& problems) {
  const auto before = problems.size();
  const auto use = side == Side::allow ? PatternUse::allow : PatternUse::deny;
  auto pattern = HostPattern::parse(spec.host, use);
  if (!pattern) {
    auto error = pattern.error();
    problems.push_back({spec.key_path + ".host", std::move(error.message), std::move(error.hint)});
  }
  if (std::find(spec.ports.begin(), spec.ports.end(), 0) != spec.ports.end())
    problems.push_back({spec.key_path + ".ports", "cannot use port '0': a port is 1 to 65535", ""});
  std::sort(spec.ports.begin(), spec.ports.end());
  if (std::adjacent_find(spec.ports.begin(), spec.ports.end()) != spec.ports.end())
    problems.push_back({spec.key_path + ".ports", "cannot use the port list: a port is listed twice", ""});
  if (problems.size() != before) return;

  if (side == Side::allow && spec.ports.empty()) spec.ports.assign(kDefaultPorts.begin(), kDefaultPorts.end());
  spec.host = pattern->text();
  const auto index = static_cast<std::uint32_t>(set.rules.size());
  switch (pattern->kind()) {
    case HostPattern::Kind::name:
      set.exact.add(pattern->name(), index);
      break;
    case HostPattern::Kind::below:
      set.wildcard.add(pattern->name(), index);
      break;
    case HostPattern::Kind::cidr:
      set.cidrs.add(pattern->cidr(), index);
      break;
  }
  set.rules.push_back(std::move(spec));
}

// The same pattern on the same port with two modes: which one counts would be a guess.
void find_mode_conflicts(const RuleSet& allow, std::vector<RuleProblem>& problems) {
  std::map<std::pair<std::string, std::uint16_t>, const NetworkRuleSpec*> seen;
  for (const auto& rule : allow.rules) {
    for (const auto port : rule.ports) {
      const auto [entry, fresh] = seen.try_emplace({rule.host, port}, &rule);
      const auto& other = *entry->second;
      if (fresh || (other.tls == rule.tls && other.http == rule.http)) continue;
      problems.push_back({rule.key_path,
                          fmt::format("cannot allow '{}' port {} twice: {} gives it other tls or http modes", rule.host,
                                      port, other.key_path),
                          "keep one of the two rules"});
      break;
    }
  }
}

Verdict denied(model::Reason reason, std::string rule, std::string detail = {}) {
  return {.allowed = false, .reason = reason, .rule = std::move(rule), .detail = std::move(detail)};
}

Verdict allowed_by(const NetworkRuleSpec& rule) {
  return {.allowed = true,
          .reason = model::Reason::allowed,
          .rule = rule.key_path,
          .detail = {},
          .tls = rule.tls,
          .http = rule.http,
          .by_wildcard = rule.host.starts_with('*')};
}

}  // namespace

struct NetworkRules::Compiled {
  RuleSet allow;
  RuleSet deny;
  EchMode ech = EchMode::allow;
  bool recording = false;
  bool any_public_name = false;
  // Of the scope's hosts: unlike an allow rule, these open no special-purpose address within them.
  std::vector<model::Cidr> public_ranges;
  std::vector<std::uint16_t> ports;
  std::vector<model::Cidr> cidrs;
  std::vector<std::string> name_patterns;

  // The rule of `set` that decides for an address and what IPv4 address it embeds, if any.
  const NetworkRuleSpec* find_cidr(const RuleSet& set, const model::IpAddress& address, std::uint16_t port) const {
    const NetworkRuleSpec* found = nullptr;
    set.cidrs.find(address, [&](std::uint32_t rule) {
      if (!set.covers(rule, port)) return false;
      found = &set.rules[rule];
      return true;
    });
    return found;
  }

  Verdict allowed_unnamed(std::string_view name) const;
  void list_what_is_allowed();

  const NetworkRuleSpec* denied_address(const model::IpAddress& address, std::uint16_t port) const {
    if (const auto* rule = find_cidr(deny, address, port)) return rule;
    const auto inner = address.embedded_v4();
    return inner ? find_cidr(deny, *inner, port) : nullptr;
  }

  Verdict judge_name(const std::string& name, std::uint16_t port) const;
  Verdict judge_literal(const model::IpAddress& address, std::uint16_t port) const;
};

// By no rule but the scope of a recorded run. The rate of new names holds here as below a wildcard.
Verdict NetworkRules::Compiled::allowed_unnamed(std::string_view name) const {
  return {.allowed = true,
          .reason = model::Reason::allowed,
          .rule = std::string(kRecordRulePrefix) + std::string(name),
          .detail = {},
          .tls = TlsMode::observe,
          .http = HttpMode::host,
          .by_wildcard = name == "public"};
}

Verdict NetworkRules::Compiled::judge_name(const std::string& name, std::uint16_t port) const {
  const NetworkRuleSpec* found = nullptr;
  bool other_port = false;
  const auto match = [&](const RuleSet& set) {
    return [&found, &other_port, &set, port](std::uint32_t rule) {
      if (set.covers(rule, port)) found = &set.rules[rule];
      other_port = true;
      return found != nullptr;
    };
  };
  if (deny.exact.find(name, match(deny))) return denied(model::Reason::host_denied, found->key_path);
  other_port = false;
  if (allow.exact.find(name, match(allow))) return allowed_by(*found);
  const bool exact_on_other_port = std::exchange(other_port, false);
  if (deny.wildcard.find_parents(name, match(deny))) return denied(model::Reason::host_denied, found->key_path);
  other_port = exact_on_other_port;
  if (allow.wildcard.find_parents(name, match(allow))) return allowed_by(*found);
  if (any_public_name) return allowed_unnamed("public");
  return denied(other_port ? model::Reason::port_not_allowed : model::Reason::host_not_allowed, "");
}

Verdict NetworkRules::Compiled::judge_literal(const model::IpAddress& address, std::uint16_t port) const {
  if (const auto* rule = denied_address(address, port)) return denied(model::Reason::host_denied, rule->key_path);
  if (const auto* rule = find_cidr(allow, address, port)) return allowed_by(*rule);
  const bool other_port = allow.cidrs.find(address, [](std::uint32_t) { return true; });
  if (other_port) return denied(model::Reason::port_not_allowed, "");
  if (const auto why = special_purpose(address)) return denied(model::Reason::ip_denied, "", std::string(*why));
  const auto has = [&](const model::Cidr& range) { return range.contains(address); };
  if (any_public_name || std::any_of(public_ranges.begin(), public_ranges.end(), has)) {
    const auto inner = address.embedded_v4();
    const auto why = inner ? special_purpose(*inner) : std::nullopt;
    return why ? denied(model::Reason::ip_denied, "", std::string(*why)) : allowed_unnamed("address");
  }
  return denied(model::Reason::host_not_allowed, "");
}

NetworkRules::NetworkRules() : compiled_(std::make_shared<const Compiled>()) {}

tl::expected<NetworkRules, std::vector<RuleProblem>> NetworkRules::build(std::vector<NetworkRuleSpec> allow,
                                                                         std::vector<NetworkRuleSpec> deny,
                                                                         EchMode ech) {
  auto compiled = std::make_shared<Compiled>();
  std::vector<RuleProblem> problems;
  for (auto& spec : allow)
    compile_rule(compiled->allow, std::move(spec), Side::allow, problems);
  for (auto& spec : deny)
    compile_rule(compiled->deny, std::move(spec), Side::deny, problems);
  find_mode_conflicts(compiled->allow, problems);
  if (!problems.empty()) return tl::make_unexpected(std::move(problems));

  compiled->ech = ech;
  compiled->list_what_is_allowed();
  NetworkRules rules;
  rules.compiled_ = std::move(compiled);
  return rules;
}

tl::expected<NetworkRules, std::vector<RuleProblem>> NetworkRules::build_recording(const RecordingScope& scope) {
  auto compiled = std::make_shared<Compiled>();
  std::vector<RuleProblem> problems;
  const auto add = [&](const std::vector<std::string>& patterns, std::string_view list) {
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      const auto range = model::Cidr::parse(patterns[i]);
      if (range && &patterns == &scope.hosts) {
        compiled->public_ranges.push_back(*range);
        continue;
      }
      compile_rule(compiled->allow,
                   {.host = patterns[i],
                    .ports = {},
                    .tls = TlsMode::observe,
                    .reason = {},
                    .key_path = fmt::format("{}{}[{}]", kRecordRulePrefix, list, i)},
                   Side::recording, problems);
    }
  };
  add(scope.hosts, "hosts");
  add(scope.cidrs, "cidrs");
  if (!problems.empty()) return tl::make_unexpected(std::move(problems));
  compiled->recording = true;
  compiled->any_public_name = scope.any_public_name;
  compiled->list_what_is_allowed();
  NetworkRules rules;
  rules.compiled_ = std::move(compiled);
  return rules;
}

void NetworkRules::Compiled::list_what_is_allowed() {
  std::set<std::uint16_t> all_ports;
  std::set<model::Cidr> ranges(public_ranges.begin(), public_ranges.end());
  std::set<std::string> names;
  for (const auto& rule : allow.rules) {
    all_ports.insert(rule.ports.begin(), rule.ports.end());
    if (const auto cidr = model::Cidr::parse(rule.host))
      ranges.insert(*cidr);
    else
      names.insert(rule.host);
  }
  if (any_public_name) names = {"*"};
  ports.assign(all_ports.begin(), all_ports.end());
  cidrs.assign(ranges.begin(), ranges.end());
  name_patterns.assign(names.begin(), names.end());
}

Verdict NetworkRules::judge(const model::HostName& host, std::uint16_t port) const {
  return host.is_ip() ? compiled_->judge_literal(host.ip(), port) : compiled_->judge_name(host.text(), port);
}

Verdict NetworkRules::judge_address(const model::HostName& host, const model::IpAddress& address, std::uint16_t port,
                                    std::span<const model::IpAddress> own_addresses) const {
  auto verdict = judge(host, port);
  if (!verdict.allowed) return verdict;
  if (const auto* rule = compiled_->denied_address(address, port))
    return denied(model::Reason::ip_denied, rule->key_path, "denied by rule");
  if (compiled_->find_cidr(compiled_->allow, address, port)) return verdict;

  const auto inner = address.embedded_v4();
  for (const auto& candidate : {std::optional(address), inner}) {
    if (!candidate) continue;
    if (const auto why = special_purpose(*candidate)) return denied(model::Reason::ip_denied, "", std::string(*why));
    if (std::find(own_addresses.begin(), own_addresses.end(), *candidate) != own_addresses.end())
      return denied(model::Reason::ip_denied, "", "host's own");
  }
  return verdict;
}

EchMode NetworkRules::ech() const {
  return compiled_->ech;
}
bool NetworkRules::any_public_name() const {
  return compiled_->any_public_name;
}
bool NetworkRules::recording() const {
  return compiled_->recording;
}
const std::vector<std::uint16_t>& NetworkRules::allowed_ports() const {
  return compiled_->ports;
}
const std::vector<model::Cidr>& NetworkRules::allowed_cidrs() const {
  return compiled_->cidrs;
}
const std::vector<std::string>& NetworkRules::allowed_name_patterns() const {
  return compiled_->name_patterns;
}
const std::vector<NetworkRuleSpec>& NetworkRules::allow() const {
  return compiled_->allow.rules;
}
const std::vector<NetworkRuleSpec>& NetworkRules::deny() const {
  return compiled_->deny.rules;
}

std::string_view to_string(TlsMode mode) {
  if (mode == TlsMode::observe) return "observe";
  return mode == TlsMode::sni ? "sni" : "opaque";
}
std::string_view to_string(HttpMode mode) {
  return mode == HttpMode::host ? "host" : "opaque";
}
std::string_view to_string(EchMode mode) {
  return mode == EchMode::allow ? "allow" : "deny";
}

}  // namespace cleanroom::policy
