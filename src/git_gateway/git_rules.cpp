#include "src/git_gateway/git_rules.h"

#include "src/gateway/origin.h"

#include <algorithm>
#include <map>

namespace cleanroom::git_gateway {

using gateway::kHttpsPort;
using model::Reason;

namespace {

// Rewriting a name that serves no git costs nothing but lines in a file.
constexpr std::size_t kMaxRewrittenHosts = 64;

GitVerdict refuse_rule(Reason reason, std::string rule, std::string detail) {
  return {.allowed = false, .reason = reason, .rule = std::move(rule), .detail = std::move(detail)};
}

}  // namespace

bool repository_matches(std::string_view pattern, std::string_view repository) {
  constexpr std::string_view kAnyName = "/*";
  if (!pattern.ends_with(kAnyName)) return pattern == repository;
  const auto parent = pattern.substr(0, pattern.size() - 1);
  return repository.starts_with(parent) && repository.size() > parent.size() &&
         repository.find('/', parent.size()) == std::string_view::npos;
}

GitRules::GitRules(std::vector<policy::GitRule> git, policy::NetworkRules network, std::optional<OwnRepository> own)
    : git_(std::move(git)), network_(std::move(network)), own_(std::move(own)) {}

GitVerdict GitRules::judge(const model::HostName& host, std::string_view repository, GitOperation operation) const {
  const auto by_network = network_.judge(host, kHttpsPort);
  if (by_network.reason == Reason::host_denied)
    return refuse_rule(Reason::host_denied, by_network.rule, by_network.detail);
  const auto rule = std::find_if(git_.begin(), git_.end(), [&](const auto& r) { return r.host == host.text(); });
  if (rule == git_.end()) {
    if (!by_network.allowed)
      return refuse_rule(Reason::host_not_allowed, "", "neither git.allow nor network.allow names this host");
    if (operation == GitOperation::push)
      return refuse_rule(Reason::git_push_not_allowed, by_network.rule,
                         "pushing needs a git.allow entry with push: true");
    return {.allowed = true, .reason = Reason::allowed, .rule = by_network.rule, .detail = ""};
  }
  const std::string name = "git.allow: " + rule->host;
  const bool named = rule->repositories.empty()
                         ? own_ && own_->host == host && own_->path == repository
                         : std::any_of(rule->repositories.begin(), rule->repositories.end(),
                                       [&](const auto& pattern) { return repository_matches(pattern, repository); });
  if (!named)
    return refuse_rule(Reason::git_repository_not_allowed, name,
                       rule->repositories.empty() ? "the entry names no repositories, which means the pipeline's own"
                                                  : "the entry's repositories do not name it");
  if (operation == GitOperation::push && !rule->push)
    return refuse_rule(Reason::git_push_not_allowed, name, "the entry does not say push: true");
  if (operation == GitOperation::lfs && !rule->lfs)
    return refuse_rule(Reason::git_lfs_not_allowed, name, "the entry says lfs: false");
  return {.allowed = true, .reason = Reason::allowed, .rule = name, .detail = ""};
}

policy::NetworkRules GitRules::upstream_rules(const std::vector<std::string>& operator_cidrs) const {
  std::vector<policy::NetworkRuleSpec> allow = network_.allow();
  for (const auto& rule : git_)
    allow.push_back({.host = rule.host, .ports = {kHttpsPort}, .key_path = "git.allow: " + rule.host});
  for (const auto& cidr : operator_cidrs)
    allow.push_back({.host = cidr, .ports = {kHttpsPort}, .key_path = "ceiling: " + cidr});
  // Two modes for one host and port are no problem here: the gateway itself is the client.
  for (auto& rule : allow) {
    rule.tls = policy::TlsMode::sni;
    rule.http = policy::HttpMode::host;
  }
  auto rules = policy::NetworkRules::build(std::move(allow), network_.deny());
  // All of it was valid on its own; without rules nothing is reached.
  return rules ? std::move(*rules) : policy::NetworkRules();
}

std::vector<RewrittenHost> GitRules::rewritten_hosts(const std::set<std::string>& bound) const {
  std::map<std::string, bool> hosts;
  for (const auto& rule : git_)
    hosts[rule.host] = true;
  for (const auto& name : network_.allowed_name_patterns()) {
    if (hosts.size() >= kMaxRewrittenHosts) break;
    const auto host = model::HostName::parse(name);
    if (host && !host->is_ip() && network_.judge(*host, kHttpsPort).allowed)
      hosts.try_emplace(host->text(), bound.contains(host->text()));
  }
  std::vector<RewrittenHost> list;
  list.reserve(hosts.size());
  for (const auto& [name, http] : hosts)
    list.push_back({name, http});
  return list;
}

}  // namespace cleanroom::git_gateway
