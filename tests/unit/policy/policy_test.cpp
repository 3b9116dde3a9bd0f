#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/text/json.h"
#include "src/base/text/schema.h"
#include "src/policy/load.h"
#include "src/policy/operator_schema.h"
#include "src/policy/policy_schema.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

namespace cleanroom::policy {
namespace {

const std::filesystem::path kSource = CLEANROOM_SOURCE_DIR;

bool accept_goldens() {
  return std::getenv("CLEANROOM_TEST_ACCEPT") != nullptr;
}

std::vector<std::string> errors_of(std::string_view text) {
  base::Diagnostics diagnostics("f", "policy_invalid");
  const auto loaded = load_policy_text(text, "f", &diagnostics);
  CHECK(loaded.has_value() != diagnostics.has_errors());
  if (!loaded) CHECK(loaded.error().reason == "policy_invalid");
  return diagnostics.lines();
}

CompiledPolicy compiled(std::string_view text) {
  auto loaded = load_policy_text(text, "f");
  if (!loaded) FAIL(loaded.error().message);
  return loaded->policy;
}

const std::string kDigest(64, 'a');

// A whole policy around one rule of allow.
std::string with_allow(std::string_view rule) {
  return fmt::format("version: 1\nsandbox: {{network: {{default: deny, allow: [{{{}}}]}}}}\n", rule);
}

TEST_SUITE("policy/load") {
  TEST_CASE("compiled policies are what tests/data/policy says") {
    for (const char* name : {"minimal", "full", "network", "signed"}) {
      CAPTURE(name);
      const auto loaded = load_policy_file(kSource / "tests/data/policy" / (std::string(name) + ".yaml"));
      REQUIRE(loaded);
      const auto golden = kSource / "tests/data/policy" / (std::string(name) + ".compiled.json");
      const auto json = base::parse_json(loaded->policy.canonical_json(), "compiled");
      REQUIRE(json);
      const std::string actual = json->dump(2) + "\n" + loaded->policy.hash().to_string() + "\n";
      if (accept_goldens()) REQUIRE(base::write_file_atomically(golden, actual, 0644));
      CHECK(base::read_file(golden, 1 << 20).value_or("") == actual);
    }
  }

  TEST_CASE("the hash does not depend on comments, order or spelling, and depends on every meaning") {
    const auto base_policy = compiled(
        "version: 1\nmetadata: {a: x, b: z}\nsandbox: {network: {default: deny, allow: [{host: a.test, ports: [443, "
        "80]},"
        " {host: b.test}]}}\n");
    const auto same = compiled(
        "# comment\nsandbox:\n  network:\n    allow:\n    - host: \"B.test.\"\n      tls: sni\n    - ports: [80, 443]\n"
        "      host: A.TEST\n    default: deny\n    ech: allow\nmetadata:\n  b: z\n  \"a\": 'x'\nversion: 1\n");
    CHECK(base_policy.hash() == same.hash());
    CHECK(base_policy.canonical_json() == same.canonical_json());
    const auto other = compiled(
        "version: 1\nmetadata: {a: x, b: z}\nsandbox: {network: {default: deny, allow: [{host: a.test, ports: [443, "
        "80]},"
        " {host: b.test, ports: [443]}]}}\n");
    CHECK(base_policy.hash() != other.hash());
  }

  TEST_CASE("POL-03 unknown keys, wrong types and conversions are errors with their place") {
    struct Case {
      std::string text;
      const char* expected;
    };
    const auto network = [](std::string_view text) {
      return fmt::format("version: 1\nsandbox: {{network: {}}}\n", text);
    };
    const Case cases[] = {
        {network("{default: deny, alow: []}"),
         "f:2:36: sandbox.network.alow: unknown key 'alow'; did you mean 'allow'?"},
        {"version: 1\nfoo: 1\n",
         "f:2:1: foo: unknown key 'foo'; known here: buildkite, git, metadata, project, registries, sandbox, secrets, "
         "version"},
        {with_allow("host: a.test, ports: \"443\""),
         "f:2:66: sandbox.network.allow[0].ports: expected a list, found the text '443'"},
        {with_allow("host: a.test, ports: [\"443\"]"),
         "f:2:67: sandbox.network.allow[0].ports[0]: expected an integer, found the text '443'"},
        {with_allow("host: a.test, ports: [443.0]"),
         "f:2:67: sandbox.network.allow[0].ports[0]: expected a plain decimal integer, found the number '443.0'"},
        {with_allow("host: a.test, ports: [0x1bb]"),
         "f:2:67: sandbox.network.allow[0].ports[0]: expected a plain decimal integer, found the number '0x1bb'"},
        {with_allow("host: a.test, ports: [65979]"),
         "f:2:67: sandbox.network.allow[0].ports[0]: expected 1 to 65535, found '65979'"},
        {network("{default: Deny}"),
         "f:2:30: sandbox.network.default: expected deny, found the text 'Deny'; did you mean 'deny'?"},
        {network("{default: allow}"), "f:2:30: sandbox.network.default: expected deny, found the text 'allow'"},
        {network("{default: no}"),
         "f:2:30: sandbox.network.default: expected deny, found 'no', which is a boolean to some YAML readers"},
        {network("{default: null}"), "f:2:21: sandbox.network.default: expected text, found nothing (null)"},
        {network("{}"), "f:2:20: sandbox.network.default: required key is missing"},
        {"version: \"1\"\n", "f:1:10: version: expected an integer, found the text '1'"},
        {"version: 2\n", "f:1:10: version: only 1 is accepted, found '2'"},
        {"project: {name: x}\n", "f:1:1: version: required key is missing"},
        {"version: 1\nregistries: {nmp: {enable: true}}\n",
         "f:2:14: registries.nmp: unknown key 'nmp'; did you mean 'npm'?"},
        {"version: 1\nbuildkite: {commands: [anotate]}\n", nullptr},
        {"version: 1\nmetadata: {a: 1}\n", "f:2:15: metadata.a: expected text, found the number '1'; write \"1\""},
    };
    for (const auto& item : cases) {
      CAPTURE(item.text);
      const auto lines = errors_of(item.text);
      REQUIRE(lines.size() == 1);
      if (item.expected != nullptr) CHECK(lines[0] == item.expected);
    }
  }

  TEST_CASE("POL-05 EGR-14 hosts that are no hosts, or that anyone can have, are refused") {
    for (const char* host :
         {"http://x.test", "x.test:443", "x.test/p", "\" x.test\"", "10.0.0.1/8", "10.0.0.0/33",
          "\"::ffff:10.0.0.1/128\"", "\"::ffff:0:0/96\"", "\"*\"", "\"*.com\"", "\"*.co.uk\"", "\"a*.b.test\"",
          "x.*.y.test", "\"\"", "\"a\\0b.test\"", "a..example.com", "user@x.test", "127.1", "0x7f000001"}) {
      CAPTURE(host);
      const auto lines = errors_of(with_allow(fmt::format("host: {}", host)));
      REQUIRE(lines.size() == 1);
      CHECK(lines[0].substr(0, 4) == "f:2:");
      CHECK(lines[0].find("sandbox.network.allow[0].host: ") != std::string::npos);
    }
  }

  TEST_CASE("all errors are reported, in the order of the file") {
    const auto lines =
        errors_of(fmt::format("version: 3\nsandbox:\n  image: {{ref: debian:12}}\n  network:\n    default: deny\n"
                              "    allow:\n      - host: x:443\n      - hots: b\n    deny:\n      - host: a/b\n"
                              "secrets:\n  - {{id: a b, target: git, allowed_hosts: [10.0.0.1]}}\n"));
    REQUIRE(lines.size() == 8);
    for (std::size_t i = 1; i < lines.size(); ++i)
      CHECK(std::stoi(lines[i - 1].substr(2)) <= std::stoi(lines[i].substr(2)));
  }

  TEST_CASE("values that a schema cannot judge are judged") {
    const char* const texts[] = {
        "version: 1\nsandbox: {image: {ref: 'debian:12'}}\n",
        "version: 1\nsandbox: {image: {ref: 'debian@sha256:123'}}\n",
        "version: 1\ngit: {allow: [{host: github.com, repositories: ['acme/../x']}]}\n",
        "version: 1\ngit: {allow: [{host: github.com, repositories: ['*/x']}]}\n",
        "version: 1\ngit: {allow: [{host: github.com, repositories: ['acme']}]}\n",
        "version: 1\ngit: {allow: [{host: github.com}, {host: GitHub.com.}]}\n",
        "version: 1\ngit: {allow: [{host: 1.2.3.4}]}\n",
        "version: 1\nregistries: {npm: {enable: true, allowed_hosts: ['*.a.test']}}\n",
        "version: 1\nregistries: {npm: {enable: true, lockfile_enforcement: {enabled: true, lockfiles: [../x]}}}\n",
        "version: 1\nregistries: {npm: {enable: true, lockfile_enforcement: {enabled: true, lockfiles: [/x]}}}\n",
        ("version: 1\nsecrets: [{id: a, target: git, allowed_hosts: [a.test]}, "
         "{id: a, target: git, allowed_hosts: [a.test]}]\n"),
        "version: 1\nbuildkite: {commands: [annotate, annotate]}\n",
        "version: 1\nmetadata: {\"a b\": x}\n",
        "version: 1\nmetadata: {a: \"\\e[31m\"}\n",
    };
    for (const char* text : texts) {
      CAPTURE(text);
      CHECK(errors_of(text).size() == 1);
    }
  }

  TEST_CASE("EGR-02 no network, an empty one and an empty allow deny everything") {
    const auto host = model::HostName::parse("example.com");
    REQUIRE(host);
    for (const char* text : {"version: 1\n", "version: 1\nsandbox: {network: {default: deny}}\n",
                             "version: 1\nsandbox: {network: {default: deny, allow: []}}\n"}) {
      const auto verdict = compiled(text).network().judge(*host, 443);
      CHECK_FALSE(verdict.allowed);
      CHECK(verdict.reason == model::Reason::host_not_allowed);
    }
  }

  TEST_CASE("what a policy sets is there, and what it leaves out is not") {
    const auto policy = compiled(fmt::format(
        "version: 1\nproject: {{name: p}}\nmetadata: {{owner: me}}\nsandbox:\n  image: {{ref: debian@sha256:{}}}\n"
        "  resources: {{vcpus: 3}}\n  ttl_minutes: 9\n  network: {{default: deny, ech: deny}}\n",
        kDigest));
    CHECK(policy.project_name() == "p");
    CHECK(policy.metadata().at("owner") == "me");
    CHECK(policy.image()->to_string() == "docker.io/library/debian@sha256:" + kDigest);
    CHECK(policy.resources().vcpus == 3U);
    CHECK_FALSE(policy.resources().memory_mib);
    CHECK(policy.ttl() == std::chrono::minutes(9));
    CHECK(policy.ech() == EchMode::deny);
    const auto empty = compiled("version: 1\n");
    CHECK_FALSE(empty.image());
    CHECK_FALSE(empty.ttl());
    CHECK(empty.ech() == EchMode::allow);
  }

  TEST_CASE("features without enforcement are listed with their key and reason; rules of the network are not") {
    std::vector<std::string> listed;
    const auto loaded = load_policy_file(kSource / "tests/data/policy/full.yaml");
    REQUIRE(loaded);
    for (const auto& feature : features_not_enforced(loaded->policy)) {
      listed.push_back(feature.key_path + "=" + std::string(model::to_string(feature.reason)));
    }
    CHECK(fmt::format("{}", fmt::join(listed, " ")) ==
          "registries.npm.enable=unsupported secrets=unsupported buildkite.commands=unsupported");
    const auto docker =
        features_not_enforced(compiled("version: 1\nsandbox: {services: {docker: {required: true}}}\n"));
    REQUIRE(docker.size() == 1);
    CHECK(docker[0].reason == model::Reason::backend_capability_mismatch);
    CHECK(features_not_enforced(compiled("version: 1\nregistries: {cache: {mode: offline}}\n")).size() == 1);
    CHECK(features_not_enforced(compiled("version: 1\nregistries: {npm: {enable: false}}\n")).empty());
    const auto secrets = [](std::string_view target) {
      return features_not_enforced(
          compiled(fmt::format("version: 1\nsecrets: [{{id: a, target: {}, allowed_hosts: [a.test]}}]\n", target)));
    };
    CHECK(secrets("git").empty());
    REQUIRE(secrets("http").size() == 1);
    CHECK(secrets("http")[0].message == "'a' is for target http; this build sends credentials to git hosts only");
    const auto network = load_policy_file(kSource / "tests/data/policy/network.yaml");
    REQUIRE(network);
    CHECK(features_not_enforced(network->policy).empty());
  }

  TEST_CASE("warnings: a git host that is open as well, an allow rule that a deny rule undoes") {
    base::Diagnostics diagnostics("f", "policy_invalid");
    const auto loaded = load_policy_text(
        "version: 1\ngit: {allow: [{host: github.com}]}\nsandbox: {network: {default: deny, allow: [{host: '*.test'},"
        " {host: github.com}, {host: a.b}], deny: [{host: a.b}]}}\n",
        "f", &diagnostics);
    CHECK_FALSE(loaded);  // *.test is a public suffix to libpsl
    base::Diagnostics again("f", "policy_invalid");
    const auto good = load_policy_text(
        "version: 1\ngit: {allow: [{host: github.com}]}\nsandbox: {network: {default: deny, allow: [{host: github.com},"
        " {host: a.b}], deny: [{host: a.b}]}}\n",
        "f", &again);
    REQUIRE(good);
    REQUIRE(again.lines().size() == 2);
    CHECK(again.lines()[0].find("git.allow[0].host: warning: 'github.com' is also open by sandbox.network.allow[0]") !=
          std::string::npos);
    CHECK(again.lines()[1].find("sandbox.network.allow[1]: warning: 'a.b' never applies on port 80") !=
          std::string::npos);
    CHECK(good->diagnostics.lines() == again.lines());
  }

  TEST_CASE("POL-09 nothing is expanded: ${ENV} is text, and no host name") {
    CHECK(compiled("version: 1\nmetadata: {a: '${HOME}'}\n").metadata().at("a") == "${HOME}");
    CHECK(errors_of(with_allow("host: '${HOST}.test'")).size() == 1);
  }

  TEST_CASE("the reference in docs/ is the table") {
    const auto path = kSource / "docs/policy-reference.md";
    auto text = base::read_file(path, 1 << 20);
    REQUIRE(text);
    const auto replace = [&](const std::string& name, const std::string& table) {
      const std::string begin = "<!-- keys of " + name + " -->\n";
      const std::string end = "<!-- end -->";
      const auto from = text->find(begin);
      REQUIRE(from != std::string::npos);
      const auto to = text->find(end, from);
      REQUIRE(to != std::string::npos);
      text->replace(from + begin.size(), to - from - begin.size(), table);
    };
    const std::string before = *text;
    replace("cleanroom.yaml", base::to_markdown(policy_schema()));
    replace("config.yaml", base::to_markdown(config_schema()));
    replace("ceiling.yaml", base::to_markdown(ceiling_schema()));
    replace("credentials.yaml", base::to_markdown(credentials_schema()));
    if (accept_goldens() && *text != before)
      REQUIRE(base::write_file_atomically(path, *text, 0644));
    else
      CHECK(*text == before);
  }

  TEST_CASE("the example policies are valid") {
    for (const auto& entry : std::filesystem::directory_iterator(kSource / "examples/policies")) {
      if (entry.path().extension() != ".yaml" || entry.path().filename() == "ceiling.yaml") continue;
      CAPTURE(entry.path().string());
      const auto loaded = load_policy_file(entry.path());
      CHECK(loaded);
    }
  }
}

}  // namespace
}  // namespace cleanroom::policy
