#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"
#include "src/policy/audit_reader.h"
#include "src/policy/load.h"

#include <doctest/doctest.h>

#include <cstdlib>

using namespace cleanroom;
using namespace cleanroom::policy;
using model::Reason;

namespace {

Observation recorded(std::string host, std::uint16_t port, std::string address = "93.184.216.34") {
  return {.host = std::move(host), .port = port, .address = std::move(address), .rule = "record:public"};
}
Observation refused(std::string host, std::uint16_t port, Reason reason = Reason::host_not_allowed) {
  return {.host = std::move(host), .port = port, .reason = reason, .address = {}, .rule = {}};
}

std::string yaml_of(const Observations& seen, const CeilingLimits* limits = nullptr) {
  const auto text = to_policy_yaml(suggest(seen, limits), {"made by a test"});
  const auto loaded = load_policy_text(text, "suggested.yaml");
  INFO(text);
  CHECK_MESSAGE(loaded.has_value(), (loaded ? "" : loaded.error().describe()));
  return text;
}

void check_golden(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::string(CLEANROOM_SOURCE_DIR "/tests/data/policy/") + name;
  if (std::getenv("CLEANROOM_TEST_ACCEPT") != nullptr) REQUIRE(base::write_file_atomically(path, text, 0644));
  const auto golden = base::read_file(path, 1 << 20);
  REQUIRE(golden.has_value());
  CHECK(text == *golden);
}

std::filesystem::path audit_file(const base::TempDir& directory, const std::string& text) {
  const auto path = directory.path() / "audit.jsonl";
  REQUIRE(base::write_file_atomically(path, text));
  return path;
}

}  // namespace

TEST_SUITE("policy/suggest") {
  TEST_CASE("a recorded run becomes the smallest policy, and that policy allows what was recorded") {
    Observations seen;
    seen.add(recorded("b.example.com", 80));
    seen.add(recorded("b.example.com", 443), 2);
    seen.add(recorded("a.example.com", 443), 3);
    auto opaque = recorded("old.example.com", 443);
    opaque.opaque_tls = true;
    seen.add(opaque);
    seen.add(recorded("old.example.com", 443));
    seen.add(recorded("files.example.com", 443, "10.99.0.1"));
    seen.add(recorded("10.99.0.1", 9000, "10.99.0.1"));
    seen.add(recorded("2606:4700::1111", 53, "2606:4700::1111"));
    seen.add(recorded("null", 8080));  // a name that YAML would read as nothing
    const CeilingLimits limits{.private_cidrs = {"10.99.0.0/24"}};
    const auto text = yaml_of(seen, &limits);
    check_golden("suggest-recorded.yaml", text);
    const auto loaded = load_policy_text(text, "x");
    REQUIRE(loaded.has_value());
    const auto& rules = loaded->policy.network();
    for (const auto& [what, count] : seen.counts()) {
      const auto host = *model::HostName::parse(what.host);
      const auto verdict = rules.judge_address(host, *model::IpAddress::parse(what.address), what.port);
      CHECK_MESSAGE(verdict.allowed, host.text());
      if (what.opaque_tls) CHECK(verdict.tls == TlsMode::opaque);
    }
    CHECK_FALSE(rules.judge(*model::HostName::parse("a.example.com"), 80).allowed);
    CHECK(ceiling_conflicts(loaded->policy, limits).empty());
  }

  TEST_CASE("refusals become rules where a rule helps, and a comment where none may") {
    Observations seen;
    seen.add(refused("registry.example.com", 0), 2);
    seen.add(refused("api.example.com", 8443, Reason::port_not_allowed));
    auto plain = refused("plain.example.com", 443, Reason::sni_missing);
    plain.rule = "sandbox.network.allow[2]";
    seen.add(plain);
    seen.add(refused("ssh.example.com", 443, Reason::tls_invalid));
    seen.add(refused("bad.example.com", 443, Reason::host_denied));
    seen.add(refused("front.example.com", 443, Reason::sni_mismatch));
    seen.add(refused("web.example.com", 80, Reason::http_host_mismatch));
    auto inside = refused("intranet.example.com", 443, Reason::ip_denied);
    inside.address = "10.1.2.3";
    seen.add(inside);
    seen.add(refused("169.254.169.254", 80, Reason::ip_denied));
    seen.add(refused("gone.example.com", 443, Reason::resolve_failed));
    seen.add(refused("down.example.com", 443, Reason::connect_failed));
    const CeilingLimits limits;
    const auto suggestion = suggest(seen, &limits);
    CHECK(suggestion.connections == 10);
    CHECK(suggestion.served == 5);
    check_golden("suggest-refused.yaml", yaml_of(seen, &limits));
  }

  TEST_CASE("what the ceiling forbids is not suggested, and a private address only within its ranges") {
    Observations seen;
    seen.add(refused("ok.example.com", 443));
    seen.add(refused("other.test", 443));
    seen.add(refused("10.99.0.7", 5432, Reason::ip_denied));
    seen.add(refused("10.98.0.7", 5432, Reason::ip_denied));
    auto behind = refused("db.example.com", 5432, Reason::ip_denied);
    behind.address = "10.99.0.8";
    seen.add(behind);
    CeilingLimits limits;
    limits.hosts = {"*.example.com"};
    limits.private_cidrs = {"10.99.0.0/24"};
    const auto suggestion = suggest(seen, &limits);
    std::vector<std::string> hosts;
    for (const auto& rule : suggestion.rules)
      hosts.push_back(rule.host);
    CHECK(hosts == std::vector<std::string>{"10.99.0.7", "10.99.0.8", "ok.example.com"});
    CHECK(suggestion.not_suggested.size() == 2);
    for (const auto& rule : suggestion.rules)
      CHECK(ceiling_conflicts(
                CompiledPolicy({}, *NetworkRules::build({{.host = rule.host, .reason = {}, .key_path = "r"}}, {})),
                limits)
                .empty());
  }

  TEST_CASE("what the gateway decides is not a matter of network rules") {
    Observations seen;
    seen.add(refused("gateway.cleanroom.internal", 443, Reason::port_not_allowed));
    seen.add(refused("git.example.com", 443, Reason::git_repository_not_allowed));
    const auto suggestion = suggest(seen, nullptr);
    CHECK(suggestion.rules.empty());
    CHECK(suggestion.not_suggested.size() == 2);
    CHECK(yaml_of(seen).find("allow: []") != std::string::npos);
  }

  TEST_CASE("what policy allows already is not suggested") {
    Observations seen;
    auto allowed = recorded("example.com", 443);
    allowed.rule = "sandbox.network.allow[0]";
    seen.add(allowed);
    CHECK(suggest(seen, nullptr).connections == 0);
    CHECK(yaml_of(seen).find("allow: []") != std::string::npos);
  }

  TEST_CASE("POL-02 text of a guest never becomes YAML: only canonical host names do") {
    Observations seen;
    for (const auto* text : {"evil.test\n  allow: x", "a\"b", "*.com", "10.0.0.0/8", "EXAMPLE.com", "x.test # y", "",
                             "0x7f.1", "b\xc3\xbc.test", "[::1]"})
      seen.add(refused(text, 443));
    const auto suggestion = suggest(seen, nullptr);
    CHECK(suggestion.rules.empty());
    REQUIRE(suggestion.not_suggested.size() == 1);
    CHECK(suggestion.not_suggested[0].count == 10);
    CHECK(yaml_of(seen).find("evil") == std::string::npos);
  }

  TEST_CASE("a flood of names is bounded and counted") {
    Observations seen;
    for (int i = 0; i < 30'000; ++i)
      seen.add(refused("h" + std::to_string(i) + ".test", 443));
    CHECK(seen.counts().size() == kMaxObservations);
    const auto suggestion = suggest(seen, nullptr);
    CHECK(suggestion.rules.size() == kMaxSuggestions);
    CHECK(suggestion.connections + seen.not_kept() == 30'000);
    CHECK(suggestion.not_listed == 28'000);
    const auto lines = to_yaml_lines(suggestion, 20);
    CHECK(lines.size() <= 20);
    CHECK(lines[lines.size() - 2].find("# and ") != std::string::npos);
    CHECK(lines.back().find("28000 events are beyond") != std::string::npos);
    // More ports than one rule may have become more rules.
    Observations ports;
    for (std::uint16_t port = 1; port <= 130; ++port)
      ports.add(refused("scan.test", port, Reason::port_not_allowed));
    CHECK(suggest(ports, nullptr).rules.size() == 3);
    yaml_of(ports);
  }

  TEST_CASE("an audit log is read line by line; what is no line of ours is counted") {
    const auto directory = *base::TempDir::create("/tmp", "suggest-");
    const auto path = audit_file(
        directory,
        R"({"ts":"t","run_id":"r","event":"connect","action":"allow","connection":1,"host":"a.test","port":443,"address":"1.1.1.1","reason":"allowed","rule":"record:public"})"
        "\n"
        R"({"ts":"t","run_id":"r","event":"tls","action":"allow","connection":1,"host":"a.test","port":443,"address":"1.1.1.1","reason":"allowed","rule":"record:public","detail":"no SNI","ech":false})"
        "\n"
        R"({"ts":"t","run_id":"r","event":"close","connection":1,"host":"a.test","port":443,"detail":"closed"})"
        "\n"
        R"({"ts":"t","run_id":"r","event":"report","action":"deny","connection":2,"host":"b.test","reason":"host_not_allowed"})"
        "\n"
        R"({"ts":"t","run_id":"r","event":"gap","lost":7})"
        "\nnot json\n[1]\n"
        R"({"event":"connect","reason":"no such reason","host":"c.test"})"
        "\n"
        R"({"event":"connect","reason":"host_not_allowed","host":"d.test","port":70000})"
        "\n" +
            std::string(300'000, 'x') + "\n" +
            R"({"event":"connect","reason":"host_not_allowed","host":"cut.test","port")");
    const auto reading = read_audit(path);
    REQUIRE(reading.has_value());
    CHECK(reading->lost == 7);
    CHECK_FALSE(reading->cut);
    CHECK(reading->observations.invalid() == 5);
    REQUIRE(reading->observations.counts().size() == 2);
    const auto suggestion = suggest(reading->observations, nullptr);
    REQUIRE(suggestion.rules.size() == 2);
    CHECK(suggestion.rules[0].host == "a.test");
    CHECK(suggestion.rules[0].ports == std::vector<std::uint16_t>{443});
    CHECK(suggestion.rules[0].tls == TlsMode::opaque);
    CHECK(suggestion.rules[0].count == 1);
    CHECK(suggestion.rules[1].host == "b.test");
    CHECK(suggestion.rules[1].ports.empty());
    CHECK(read_audit(path, 100)->cut);
    CHECK_FALSE(read_audit(directory.path()).has_value());
    CHECK_FALSE(read_audit(directory.path() / "none").has_value());
  }
}
