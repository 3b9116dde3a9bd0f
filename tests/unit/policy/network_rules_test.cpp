#include "src/policy/network_rules.h"

#include "src/policy/address_rules.h"

#include <doctest/doctest.h>

#include <chrono>

using namespace cleanroom;
using model::HostName;
using model::IpAddress;
using model::Reason;
using policy::HttpMode;
using policy::NetworkRules;
using policy::NetworkRuleSpec;
using policy::TlsMode;

namespace {

NetworkRuleSpec rule(std::string host, std::vector<std::uint16_t> ports = {}) {
  return {.host = host, .ports = std::move(ports), .reason = "", .key_path = "rule " + host};
}

NetworkRules rules(std::vector<NetworkRuleSpec> allow, std::vector<NetworkRuleSpec> deny = {}) {
  auto built = NetworkRules::build(std::move(allow), std::move(deny));
  REQUIRE(built.has_value());
  return *built;
}

std::string judge(const NetworkRules& network, std::string_view host, std::uint16_t port = 443) {
  const auto name = HostName::parse(host);
  REQUIRE(name.has_value());
  const auto verdict = network.judge(*name, port);
  CHECK(verdict.allowed == (verdict.reason == Reason::allowed));
  return std::string(to_string(verdict.reason)) + (verdict.rule.empty() ? "" : " by " + verdict.rule);
}

std::string judge_address(const NetworkRules& network, std::string_view host, std::string_view address,
                          std::vector<IpAddress> own = {}) {
  const auto verdict = network.judge_address(*HostName::parse(host), *IpAddress::parse(address), 443, own);
  return std::string(to_string(verdict.reason));
}

std::string problem_of(const NetworkRuleSpec& spec) {
  const auto built = NetworkRules::build({spec}, {});
  if (built) return "";
  REQUIRE(built.error().size() == 1);
  return built.error()[0].message;
}

}  // namespace

TEST_SUITE("network_rules") {
  TEST_CASE("EGR-02 without rules everything is denied") {
    for (const auto& network : {NetworkRules(), rules({}), rules({}, {rule("evil.test")})}) {
      CHECK(judge(network, "example.com") == "host_not_allowed");
      CHECK(judge(network, "8.8.8.8") == "host_not_allowed");
      CHECK(network.allowed_ports().empty());
      CHECK(network.allowed_cidrs().empty());
    }
  }

  TEST_CASE("EGR-17 a rule without ports means 80 and 443 only") {
    const auto network = rules({rule("example.com"), rule("ssh.example.com", {22})});
    CHECK(judge(network, "example.com", 443) == "allowed by rule example.com");
    CHECK(judge(network, "example.com", 80) == "allowed by rule example.com");
    CHECK(judge(network, "example.com", 8443) == "port_not_allowed");
    CHECK(judge(network, "ssh.example.com", 22) == "allowed by rule ssh.example.com");
    CHECK(judge(network, "ssh.example.com", 443) == "port_not_allowed");
    CHECK(network.allowed_ports() == std::vector<std::uint16_t>{22, 80, 443});
  }

  TEST_CASE("EGR-13 host and rule meet in canonical form") {
    const auto network = rules({rule("API.GitHub.com."), rule("bücher.example")});
    CHECK(judge(network, "api.github.COM.") == "allowed by rule API.GitHub.com.");
    CHECK(judge(network, "xn--bcher-kva.example") == "allowed by rule bücher.example");
    CHECK(network.allow()[0].host == "api.github.com");
    CHECK(network.allowed_name_patterns() == std::vector<std::string>{"api.github.com", "xn--bcher-kva.example"});
  }

  TEST_CASE("EGR-14 a wildcard is one label or more below, never the apex") {
    const auto network = rules({rule("*.example.com")});
    CHECK(judge(network, "a.example.com") == "allowed by rule *.example.com");
    CHECK(judge(network, "a.b.example.com") == "allowed by rule *.example.com");
    CHECK(judge(network, "example.com") == "host_not_allowed");
    CHECK(judge(network, "notexample.com") == "host_not_allowed");
    CHECK(judge(network, "example.com.evil.test") == "host_not_allowed");
    CHECK(judge(network, "a.example.com", 22) == "port_not_allowed");
  }

  TEST_CASE("EGR-14 wildcards that would open a public suffix, or stand elsewhere, are refused") {
    for (const auto* bad : {"*", "*.", "*.com", "*.co.uk", "*.github.io", "*.COM.", "a*.b", "x.*.y", "**.example.com",
                            "*.*.example.com", "*example.com", "*.example.*", "*.10.0.0.1", "*.test"}) {
      CAPTURE(bad);
      CHECK(problem_of(rule(bad)) != "");
    }
    // Denying more than one can register below is harmless.
    CHECK(judge(rules({rule("*.example.com")}, {rule("*.com")}), "a.example.com") == "host_denied by rule *.com");
  }

  TEST_CASE("POL-05 hosts that are not hosts, and bad ranges, are refused, all at once") {
    for (const auto* bad : {"http://x",
                            "x:443",
                            "x/p",
                            " x",
                            "x ",
                            "",
                            "user@x",
                            "10.0.0.1/8",
                            "10.0.0.0/33",
                            "::ffff:10.0.0.0/104",
                            "::ffff:10.0.0.1",
                            "0.0.0.0/0",
                            "::/0",
                            "10.0.0.0/7",
                            "127.1",
                            "0x7f.1",
                            "fe80::1%eth0",
                            "a..b",
                            "x?y",
                            "evil.test\n"}) {
      CAPTURE(bad);
      CHECK(problem_of(rule(bad)) != "");
    }
    CHECK(problem_of(rule("x:443")).find("port") != std::string::npos);
    CHECK(problem_of(rule("10.0.0.1/8")).find("10.0.0.0/8") != std::string::npos);
    CHECK(problem_of(rule("x", {0})) != "");
    CHECK(problem_of(rule("x", {443, 80, 443})) != "");

    const auto built = NetworkRules::build({rule("http://x"), rule("fine.test"), rule("*")}, {rule("y/z")});
    REQUIRE_FALSE(built.has_value());
    REQUIRE(built.error().size() == 3);
    CHECK(built.error()[0].key_path == "rule http://x.host");
    CHECK(built.error()[2].key_path == "rule y/z.host");
  }

  TEST_CASE("one host and port with two modes is refused") {
    auto opaque = rule("example.com", {443});
    opaque.tls = TlsMode::opaque;
    opaque.key_path = "second";
    const auto built = NetworkRules::build({rule("example.com"), opaque}, {});
    REQUIRE_FALSE(built.has_value());
    CHECK(built.error()[0].key_path == "second");
    // Another port, or another pattern, is no conflict; the exact rule decides.
    opaque.host = "*.example.com";
    const auto network = rules({rule("a.example.com"), opaque});
    CHECK(network.judge(*HostName::parse("a.example.com"), 443).tls == TlsMode::sni);
    CHECK(network.judge(*HostName::parse("b.example.com"), 443).tls == TlsMode::opaque);
  }

  TEST_CASE("EGR-18 deny wins over allow of the same kind, and exact over wildcard") {
    const auto network = rules({rule("*.example.com"), rule("10.0.0.0/8"), rule("keep.wild.example.com")},
                               {rule("Secret.Example.com."), rule("10.1.2.3"), rule("*.wild.example.com"),
                                rule("a.example.com", {8443}), rule("10.9.0.0/16", {22})});
    CHECK(judge(network, "secret.example.com") == "host_denied by rule Secret.Example.com.");
    CHECK(judge(network, "SECRET.example.com.") == "host_denied by rule Secret.Example.com.");
    CHECK(judge(network, "other.example.com") == "allowed by rule *.example.com");
    CHECK(judge(network, "x.wild.example.com") == "host_denied by rule *.wild.example.com");
    CHECK(judge(network, "keep.wild.example.com") == "allowed by rule keep.wild.example.com");
    CHECK(judge(network, "a.example.com", 443) == "allowed by rule *.example.com");
    CHECK(judge(network, "a.example.com", 8443) == "host_denied by rule a.example.com");
    CHECK(judge(network, "10.1.2.3") == "host_denied by rule 10.1.2.3");
    CHECK(judge(network, "10.1.2.4") == "allowed by rule 10.0.0.0/8");
    CHECK(judge(network, "10.9.1.1", 443) == "allowed by rule 10.0.0.0/8");
    CHECK(judge_address(network, "other.example.com", "10.1.2.3") == "ip_denied");
    CHECK(judge_address(network, "other.example.com", "64:ff9b::a01:203") == "ip_denied");
    CHECK(judge_address(network, "other.example.com", "10.1.2.4") == "allowed");
  }

  TEST_CASE("EGR-05 EGR-06 an address is judged by address rules only") {
    const auto network = rules({rule("*.example.com"), rule("93.184.216.34"), rule("2600:1::/32")});
    CHECK(judge(network, "93.184.216.34") == "allowed by rule 93.184.216.34");
    CHECK(judge(network, "0x5db8d822") == "allowed by rule 93.184.216.34");
    CHECK(judge(network, "::ffff:93.184.216.34") == "allowed by rule 93.184.216.34");
    CHECK(judge(network, "[2600:1::7]") == "allowed by rule 2600:1::/32");
    CHECK(judge(network, "93.184.216.34", 22) == "port_not_allowed");
    CHECK(judge(network, "93.184.216.35") == "host_not_allowed");
    for (const auto* bad : {"127.1", "0", "2130706433", "::1", "::127.0.0.1", "64:ff9b:1::7f00:1",
                            "2002:7f00:1::", "2001::1", "169.254.169.254", "fd00:ec2::254"}) {
      CAPTURE(bad);
      CHECK(judge(network, bad) == "ip_denied");
    }
    CHECK(network.allowed_cidrs().size() == 2);
    CHECK(network.allowed_name_patterns() == std::vector<std::string>{"*.example.com"});
  }

  TEST_CASE("EGR-07 special addresses behind an allowed name are denied") {
    const auto network = rules({rule("allowed.test")});
    for (const auto* address : {"127.0.0.1",
                                "127.255.255.254",
                                "10.0.0.1",
                                "172.16.0.1",
                                "172.31.255.255",
                                "192.168.1.1",
                                "100.64.0.1",
                                "100.127.255.255",
                                "169.254.1.1",
                                "169.254.169.254",
                                "169.254.170.2",
                                "100.100.100.200",
                                "168.63.129.16",
                                "224.0.0.1",
                                "239.1.1.1",
                                "0.0.0.0",
                                "0.1.2.3",
                                "192.0.0.1",
                                "192.0.0.192",
                                "198.18.0.1",
                                "198.19.255.255",
                                "240.0.0.1",
                                "255.255.255.255",
                                "192.0.2.1",
                                "::",
                                "::1",
                                "fe80::1",
                                "febf::1",
                                "fc00::1",
                                "fd12::1",
                                "fd00:ec2::254",
                                "fec0::1",
                                "ff02::1",
                                "::ffff:10.0.0.1",
                                "::10.0.0.1",
                                "64:ff9b::10.0.0.1",
                                "64:ff9b:1::10.0.0.1",
                                "2002:a00:1::",
                                "2001::1",
                                "2001:db8::1",
                                "100::1",
                                "5f00::1",
                                "4000::1"}) {
      CAPTURE(address);
      CHECK(judge_address(network, "allowed.test", address) == "ip_denied");
    }
    for (const auto* address : {"93.184.216.34", "172.32.0.1", "100.128.0.1", "168.63.129.17", "198.20.0.1", "2600::1",
                                "2a00:1450::1", "64:ff9b::5db8:d822"}) {
      CAPTURE(address);
      CHECK(judge_address(network, "allowed.test", address) == "allowed");
    }
    CHECK(judge_address(network, "other.test", "93.184.216.34") == "host_not_allowed");
  }

  TEST_CASE("EGR-07 the host's own addresses are denied, an explicit range opens special ones") {
    const auto own = *IpAddress::parse("93.184.216.34");
    const auto closed = rules({rule("allowed.test")});
    CHECK(judge_address(closed, "allowed.test", "93.184.216.34", {own}) == "ip_denied");
    CHECK(judge_address(closed, "allowed.test", "64:ff9b::5db8:d822", {own}) == "ip_denied");
    const auto open =
        rules({rule("allowed.test"), rule("127.0.0.0/8"), rule("93.184.216.34"), rule("10.0.0.0/8", {22})});
    CHECK(judge_address(open, "allowed.test", "93.184.216.34", {own}) == "allowed");
    CHECK(judge_address(open, "allowed.test", "127.0.0.1") == "allowed");
    CHECK(judge_address(open, "allowed.test", "10.0.0.1") == "ip_denied");  // the range is open on port 22 only
    const auto verdict = open.judge_address(*HostName::parse("allowed.test"), *IpAddress::parse("127.0.0.1"), 443);
    CHECK(verdict.rule == "rule allowed.test");
  }

  TEST_CASE("a recorded run reaches every public name on every port, and no special address") {
    const auto network = *NetworkRules::build_recording({.any_public_name = true, .hosts = {}, .cidrs = {}});
    CHECK(network.recording());
    CHECK(network.any_public_name());
    CHECK(network.allowed_name_patterns() == std::vector<std::string>{"*"});
    CHECK(network.allowed_ports().empty());
    CHECK(judge(network, "example.com", 8443) == "allowed by record:public");
    CHECK(judge(network, "8.8.8.8", 53) == "allowed by record:address");
    const auto verdict = network.judge(*HostName::parse("example.com"), 443);
    CHECK(verdict.tls == TlsMode::observe);
    CHECK(verdict.http == HttpMode::host);
    CHECK(verdict.by_wildcard);  // the rate of new names holds
    for (const auto* address :
         {"127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "fd00:ec2::254", "64:ff9b::7f00:1"}) {
      CHECK(judge(network, address) == "ip_denied");
      CHECK(judge_address(network, "example.com", address) == "ip_denied");
    }
    CHECK(judge_address(network, "example.com", "93.184.216.34") == "allowed");
    CHECK(judge_address(network, "example.com", "93.184.216.34", {*IpAddress::parse("93.184.216.34")}) == "ip_denied");
    CHECK(judge_address(network, "93.184.216.34", "93.184.216.34", {*IpAddress::parse("93.184.216.34")}) ==
          "ip_denied");
  }

  TEST_CASE("a recorded run under a ceiling with hosts reaches these, and its private ranges alone open private ones") {
    const auto network = *NetworkRules::build_recording(
        {.any_public_name = false, .hosts = {"example.com", "*.io", "0.0.0.0/0"}, .cidrs = {"10.99.0.0/24"}});
    CHECK_FALSE(network.any_public_name());
    CHECK(judge(network, "example.com", 22) == "allowed by record:hosts[0]");
    CHECK(judge(network, "a.github.io", 22) == "allowed by record:hosts[1]");
    CHECK(judge(network, "example.org") == "host_not_allowed");
    CHECK(judge(network, "8.8.8.8") == "allowed by record:address");
    for (const auto* address : {"127.0.0.1", "169.254.169.254", "10.98.0.1"})
      CHECK(judge(network, address) == "ip_denied");  // 0.0.0.0/0 of the hosts opens none of these
    CHECK(judge(network, "10.99.0.1", 9000) == "allowed by record:cidrs[0]");
    CHECK(judge_address(network, "example.com", "10.99.0.1") == "allowed");
    CHECK(judge_address(network, "example.com", "10.98.0.1") == "ip_denied");
    CHECK_FALSE(NetworkRules::build_recording({.hosts = {"not a host"}, .cidrs = {}}).has_value());
  }

  TEST_CASE("a verdict among 10,000 rules does not scan them") {
    const auto make = [](int count) {
      std::vector<NetworkRuleSpec> allow;
      std::vector<NetworkRuleSpec> deny;
      for (int i = 0; i < count / 4; ++i) {
        allow.push_back(rule(fmt::format("host{}.example.com", i)));
        allow.push_back(rule(fmt::format("*.zone{}.example.com", i)));
        deny.push_back(rule(fmt::format("bad{}.example.com", i)));
        deny.push_back(rule(fmt::format("20.{}.{}.0/24", i / 256, i % 256)));
      }
      return rules(allow, deny);
    };
    const auto network = make(10'000);
    const auto hosts = {*HostName::parse("a.b.c.d.e.zone2400.example.com"), *HostName::parse("nobody.example.net"),
                        *HostName::parse("20.9.1.1"), *HostName::parse("host2400.example.com")};
    const auto start = std::chrono::steady_clock::now();
    constexpr int kRounds = 1000;
    int allowed = 0;
    for (int i = 0; i < kRounds; ++i)
      for (const auto& host : hosts)
        allowed += network.judge(host, 443).allowed ? 1 : 0;
    const auto spent = std::chrono::steady_clock::now() - start;
    CHECK(allowed == 2 * kRounds);
    MESSAGE("one verdict: " << std::chrono::duration<double, std::micro>(spent).count() / (4.0 * kRounds) << " us");
  }
}
