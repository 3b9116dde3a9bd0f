// F6. A deny rule more never allows, an allow rule less never allows, and the order of the rules changes no verdict;
// whatever is allowed falls under some allow rule by the plain reading of the rules, and under no exact deny rule.
#include "src/policy/network_rules.h"

#include "src/policy/host_pattern.h"
#include "tests/fuzz/support.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>

using namespace cleanroom;
using model::HostName;
using model::IpAddress;
using policy::HostPattern;
using policy::NetworkRules;
using policy::NetworkRuleSpec;
using policy::PatternUse;

namespace {

// Few names and addresses, so that rules and questions meet.
constexpr const char* kLabels[] = {"a", "b", "com", "test", "example", "xn--bcher-kva"};
constexpr std::uint16_t kPorts[] = {80, 443, 22, 8443};

std::string some_name(FuzzedDataProvider& input) {
  std::string name;
  for (auto left = input.ConsumeIntegralInRange(1, 4); left > 0; --left)
    name += (name.empty() ? "" : ".") + std::string(input.PickValueInArray(kLabels));
  return name;
}

IpAddress some_address(FuzzedDataProvider& input) {
  const auto low = input.ConsumeIntegral<std::uint8_t>();
  const auto byte = input.ConsumeIntegralInRange<std::uint8_t>(0, 3);
  switch (input.ConsumeIntegralInRange(0, 5)) {
    case 0:
      return IpAddress::v4({10, byte, 0, low});
    case 1:
      return IpAddress::v4({203, 0, byte, low});
    case 2:
      return IpAddress::v6({0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 10, byte, 0, low});
    case 3:
      return IpAddress::v6({0x20, 0x02, 10, byte, 0, low});
    case 4:
      return IpAddress::v6({0x26, 0x07, byte, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low});
    default:
      return IpAddress::v4(input.ConsumeIntegral<std::uint32_t>());
  }
}

std::string some_host(FuzzedDataProvider& input) {
  switch (input.ConsumeIntegralInRange(0, 4)) {
    case 0:
      return some_name(input);
    case 1:
      return "*." + some_name(input);
    case 2:
      return some_address(input).to_string();
    case 3: {
      const auto address = some_address(input);
      return model::Cidr::network_of(address, input.ConsumeIntegralInRange(0, address.bits())).to_string();
    }
    default:
      return input.ConsumeRandomLengthString(24);
  }
}

// Up to eight rules that build() accepts one by one.
std::vector<NetworkRuleSpec> some_rules(FuzzedDataProvider& input, PatternUse use) {
  std::vector<NetworkRuleSpec> rules;
  for (auto left = input.ConsumeIntegralInRange(0, 8); left > 0; --left) {
    NetworkRuleSpec spec{.host = some_host(input)};
    for (const auto port : kPorts)
      if (input.ConsumeBool()) spec.ports.push_back(port);
    if (use == PatternUse::allow) {
      spec.tls = input.ConsumeBool() ? policy::TlsMode::opaque : policy::TlsMode::sni;
      spec.http = input.ConsumeBool() ? policy::HttpMode::opaque : policy::HttpMode::host;
    }
    if (HostPattern::parse(spec.host, use)) rules.push_back(std::move(spec));
  }
  return rules;
}

struct Question {
  HostName host;
  IpAddress address;
  std::uint16_t port;
};

HostName asked_host(FuzzedDataProvider& input) {
  if (input.ConsumeBool()) return HostName::of_address(some_address(input));
  return HostName::parse(some_name(input)).value();
}

struct Answer {
  policy::Verdict name;
  policy::Verdict address;
};

Answer ask(const NetworkRules& rules, const Question& question) {
  return {rules.judge(question.host, question.port),
          rules.judge_address(question.host, question.address, question.port)};
}

bool covers(const NetworkRuleSpec& rule, std::uint16_t port) {
  return rule.ports.empty() || std::find(rule.ports.begin(), rule.ports.end(), port) != rule.ports.end();
}

// The plain reading, without tables. `rule` is as build() gives it back: canonical, ports filled in.
bool fits(const NetworkRuleSpec& rule, PatternUse use, const HostName& host, std::uint16_t port) {
  const auto pattern = HostPattern::parse(rule.host, use);
  FUZZ_CHECK(pattern && pattern->text() == rule.host);
  if (!covers(rule, port)) return false;
  switch (pattern->kind()) {
    case HostPattern::Kind::name:
      return !host.is_ip() && host.text() == pattern->name();
    case HostPattern::Kind::below:
      return host.is_below(HostName::parse(pattern->name()).value());
    case HostPattern::Kind::cidr:
      return host.is_ip() && pattern->cidr().contains(host.ip());
  }
  return false;
}

void check_plain_reading(const NetworkRules& rules, const Question& question, const Answer& answer) {
  FUZZ_CHECK(!answer.address.allowed || answer.name.allowed);
  const auto is_for = [&](PatternUse use, const HostName& host) {
    return [use, &host, &question](const auto& rule) { return fits(rule, use, host, question.port); };
  };
  const auto& deny = rules.deny();
  const auto& allow = rules.allow();
  const bool allowed_somehow = std::any_of(allow.begin(), allow.end(), is_for(PatternUse::allow, question.host));
  const bool denied_exactly = std::any_of(deny.begin(), deny.end(), [&](const auto& rule) {
    return !rule.host.starts_with('*') && fits(rule, PatternUse::deny, question.host, question.port);
  });
  FUZZ_CHECK(!answer.name.allowed || (allowed_somehow && !denied_exactly));
  const auto address = HostName::of_address(question.address);
  if (std::any_of(deny.begin(), deny.end(), is_for(PatternUse::deny, address))) FUZZ_CHECK(!answer.address.allowed);
}

void check_same(const policy::Verdict& a, const policy::Verdict& b) {
  FUZZ_CHECK(a.allowed == b.allowed && a.reason == b.reason && a.detail == b.detail);
  FUZZ_CHECK(a.tls == b.tls && a.http == b.http && a.by_wildcard == b.by_wildcard);
}

void check_never_allows(const tl::expected<NetworkRules, std::vector<policy::RuleProblem>>& stricter,
                        const std::vector<Question>& questions, const std::vector<Answer>& answers) {
  FUZZ_CHECK(stricter);
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const auto answer = ask(*stricter, questions[i]);
    FUZZ_CHECK(!answer.name.allowed || answers[i].name.allowed);
    FUZZ_CHECK(!answer.address.allowed || answers[i].address.allowed);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  auto allow = some_rules(input, PatternUse::allow);
  auto deny = some_rules(input, PatternUse::deny);
  const auto rules = NetworkRules::build(allow, deny);
  if (!rules) return 0;  // two allow rules with different modes
  std::vector<Question> questions;
  std::vector<Answer> answers;
  for (int left = 8; left > 0; --left) {
    auto host = asked_host(input);
    const auto address = host.is_ip() ? host.ip() : some_address(input);
    questions.push_back({std::move(host), address, input.PickValueInArray(kPorts)});
    answers.push_back(ask(*rules, questions.back()));
    check_plain_reading(*rules, questions.back(), answers.back());
  }

  auto more = deny;
  auto extra = some_rules(input, PatternUse::deny);
  more.insert(more.end(), extra.begin(), extra.end());
  check_never_allows(NetworkRules::build(allow, more), questions, answers);
  for (std::size_t i = 0; i < allow.size(); ++i) {
    auto fewer = allow;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    check_never_allows(NetworkRules::build(fewer, deny), questions, answers);
  }

  std::reverse(allow.begin(), allow.end());
  std::rotate(deny.begin(), deny.begin() + static_cast<std::ptrdiff_t>(deny.size() / 2), deny.end());
  const auto reordered = NetworkRules::build(allow, deny);
  FUZZ_CHECK(reordered);
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const auto answer = ask(*reordered, questions[i]);
    check_same(answer.name, answers[i].name);
    check_same(answer.address, answers[i].address);
  }
  return 0;
}
