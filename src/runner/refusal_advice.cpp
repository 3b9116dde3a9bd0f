#include "src/runner/refusal_advice.h"

#include "src/policy/suggest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace cleanroom::runner {

namespace {

constexpr std::size_t kMaxAdviceLines = 18;

std::string refusals(std::uint64_t count) {
  return count == 1 ? "1 connection was refused" : fmt::format("{} connections were refused", count);
}

}  // namespace

std::vector<std::string> refusal_advice(const egress::Summary& summary, const policy::CeilingLimits& limits) {
  policy::Observations seen;
  bool has_missing_rule = false;
  for (const auto& entry : summary.denied) {
    // The way to other rules is a person's judgement, and `cleanroom policy suggest` helps with it.
    has_missing_rule = has_missing_rule || entry.reason == model::Reason::host_not_allowed ||
                       entry.reason == model::Reason::port_not_allowed;
    seen.add({.host = entry.host, .port = entry.port, .reason = entry.reason, .address = {}, .rule = entry.rule},
             entry.count);
  }
  auto suggestion = policy::suggest(seen, &limits);
  suggestion.not_listed += summary.not_listed;
  if (suggestion.connections == 0) return {};
  const auto refused = refusals(suggestion.connections);
  if (!has_missing_rule || suggestion.rules.empty()) {
    const auto lines = policy::to_yaml_lines({.not_suggested = suggestion.not_suggested}, kMaxAdviceLines);
    return {fmt::format("{}; no rule of cleanroom.yaml is known to allow {}\n{}", refused,
                        suggestion.connections == 1 ? "it" : "them", fmt::join(lines, "\n"))};
  }
  const auto served = suggestion.served == suggestion.connections ? suggestion.served == 1 ? "it" : "them"
                                                                  : fmt::format("{} of them", suggestion.served);
  return {
      fmt::format("{}; cleanroom.yaml would allow {} with:\nsandbox:\n  network:\n    default: deny\n    allow:\n{}",
                  refused, served, fmt::join(policy::to_yaml_lines(suggestion, kMaxAdviceLines), "\n"))};
}

std::vector<std::string> git_advice(const RefusedRepositories& refused) {
  if (refused.empty()) return {};
  std::vector<std::string> lines;
  for (const auto& [host, repositories] : refused)
    lines.push_back(fmt::format("    - {{host: {}, repositories: [{}]}}", host, fmt::join(repositories, ", ")));
  return {fmt::format("repositories were refused; cleanroom.yaml would allow reading them with:\ngit:\n  allow:\n{}",
                      fmt::join(lines, "\n"))};
}

}  // namespace cleanroom::runner
