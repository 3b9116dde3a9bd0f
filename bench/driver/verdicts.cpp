#include "bench/driver/driver.h"
#include "src/policy/network_rules.h"

#include <cstdio>
#include <vector>

namespace cleanroom::bench {
namespace {

// A third each of exact names, wildcards and CIDRs.
std::vector<policy::NetworkRuleSpec> make_rules(std::size_t count) {
  std::vector<policy::NetworkRuleSpec> rules;
  for (std::size_t i = 0; i < count; ++i) {
    const auto n = std::to_string(i);
    policy::NetworkRuleSpec rule{.key_path = "allow[" + n + "]"};
    if (i % 3 == 0) rule.host = "host" + n + ".example.com";
    if (i % 3 == 1) rule.host = "*.zone" + n + ".example.net";
    if (i % 3 == 2)
      rule.host =
          "20." + std::to_string(i / 256 % 256) + "." + std::to_string(i % 256) + ".0/" + std::to_string(24 + i % 5);
    rules.push_back(std::move(rule));
  }
  return rules;
}

// Names and addresses that rules name, and as many that none does.
std::vector<model::HostName> make_questions(std::size_t count) {
  std::vector<model::HostName> questions;
  const auto add = [&](const std::string& text) {
    auto name = model::HostName::parse(text);
    if (name) questions.push_back(std::move(*name));
  };
  for (std::size_t i = 0; i < 3000; ++i) {
    const auto n = std::to_string(i * 7919 % count);
    add("host" + n + ".example.com");
    add("a.b.zone" + n + ".example.net");
    add("20." + std::to_string(i / 256 % 256) + "." + std::to_string(i % 256) + ".1");
    add("host" + n + ".example.org");
  }
  return questions;
}

}  // namespace

int run_verdicts(std::size_t count) {
  auto rules = policy::NetworkRules::build(make_rules(count), {});
  if (!rules || count == 0) {
    for (const auto& problem : rules ? std::vector<policy::RuleProblem>() : rules.error())
      std::fprintf(stderr, "bench_egress: error: %s: %s\n", problem.key_path.c_str(), problem.message.c_str());
    return 1;
  }
  const auto questions = make_questions(count);
  constexpr std::size_t kRounds = 50;
  std::size_t allowed = 0;
  const auto begun = base::SteadyClock::now();
  for (std::size_t round = 0; round < kRounds; ++round)
    for (const auto& question : questions)
      allowed += rules->judge(question, 443).allowed ? 1 : 0;
  const std::chrono::duration<double, std::nano> took = base::SteadyClock::now() - begun;
  const auto verdicts = static_cast<double>(questions.size() * kRounds);
  std::printf("%.0f %.2f\n", took.count() / verdicts, static_cast<double>(allowed) / verdicts);
  return 0;
}

}  // namespace cleanroom::bench
