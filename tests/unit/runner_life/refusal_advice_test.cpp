#include "src/runner/refusal_advice.h"

#include "src/policy/load.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace cleanroom;
using namespace cleanroom::runner;
using model::Reason;

namespace {

egress::Summary refused(std::vector<egress::SummaryEntry> entries) {
  egress::Summary summary;
  for (const auto& entry : entries)
    summary.denied_total += entry.count;
  summary.denied = std::move(entries);
  return summary;
}

std::string only(const std::vector<std::string>& advice) {
  REQUIRE(advice.size() == 1);
  return advice[0];
}

}  // namespace

TEST_SUITE("runner/refusal_advice") {
  TEST_CASE("what was refused for want of a rule comes with rules that are a policy") {
    const auto text = only(refusal_advice(
        refused({{"a.test", 0, Reason::host_not_allowed, "", 2}, {"b.test", 8443, Reason::port_not_allowed, "", 1}}),
        {}));
    CHECK(text.starts_with("3 connections were refused; cleanroom.yaml would allow them with:\nsandbox:\n"));
    const auto yaml = "version: 1\n" + text.substr(text.find('\n') + 1);
    const auto loaded = policy::load_policy_text(yaml, "advice");
    REQUIRE(loaded.has_value());
    CHECK(loaded->policy.network().judge(*model::HostName::parse("a.test"), 443).allowed);
    CHECK(loaded->policy.network().judge(*model::HostName::parse("b.test"), 8443).allowed);
  }

  TEST_CASE("what no rule opens is not promised") {
    const auto text = only(refusal_advice(refused({{"metadata.test", 80, Reason::ip_denied, "", 1}}), {}));
    CHECK(text.starts_with("1 connection was refused; no rule of cleanroom.yaml is known to allow it\n"));
    CHECK(text.find("ceiling.yaml") != std::string::npos);
    CHECK(text.find("- host") == std::string::npos);
    policy::CeilingLimits limits;
    limits.hosts = {"*.example.com"};
    const auto beyond = only(refusal_advice(refused({{"a.test", 443, Reason::host_not_allowed, "", 1}}), limits));
    CHECK(beyond.find("the operator's ceiling forbids it") != std::string::npos);
    CHECK(beyond.find("- host") == std::string::npos);
    const auto mixed = only(refusal_advice(refused({{"a.example.com", 443, Reason::host_not_allowed, "", 1},
                                                    {"a.test", 443, Reason::host_not_allowed, "", 4}}),
                                           limits));
    CHECK(mixed.starts_with("5 connections were refused; cleanroom.yaml would allow 1 of them with:"));
  }

  TEST_CASE("names that do not resolve are no refusals, and nothing refused is nothing said") {
    CHECK(refusal_advice(refused({{"gone.test", 443, Reason::resolve_failed, "", 9}}), {}).empty());
    CHECK(refusal_advice({}, {}).empty());
  }

  TEST_CASE("a flood makes few lines, and none of a guest's own") {
    std::vector<egress::SummaryEntry> entries{{"x\\x0acleanroom: fine", 0, Reason::invalid_host, "", 1}};
    for (int i = 0; i < 900; ++i)
      entries.push_back({"h" + std::to_string(i) + ".test", 443, Reason::host_not_allowed, "", 1});
    const auto text = only(refusal_advice(refused(std::move(entries)), {}));
    CHECK(std::count(text.begin(), text.end(), '\n') <= 24);
    CHECK(text.find("fine") == std::string::npos);
  }

  TEST_CASE("refused repositories are advised by host") {
    CHECK(git_advice({}).empty());
    const auto lines = git_advice({{"git.test", {"acme/web", "acme/lib"}}, {"other.test", {"a/b"}}});
    REQUIRE(lines.size() == 1);
    CHECK(
        lines[0].ends_with("git:\n  allow:\n    - {host: git.test, repositories: [acme/lib, acme/web]}\n"
                           "    - {host: other.test, repositories: [a/b]}"));
  }
}
