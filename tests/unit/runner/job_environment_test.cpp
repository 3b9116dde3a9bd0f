#include "src/runner/job_environment.h"

#include "src/runner/environment_rules.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

using namespace cleanroom;
using runner::Environment;

namespace {

bool has_note(const runner::Notes& notes, std::string_view part) {
  return std::any_of(notes.begin(), notes.end(), [part](const auto& note) {
    return note.level == runner::Note::Level::warning && note.text.find(part) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("build facts pass by default and nothing else does") {
  const Environment host{
      {"CI", "true"},           {"BUILDKITE", "true"},   {"BUILDKITE_BRANCH", "main"}, {"BUILDKITE_MESSAGE", "a\nb"},
      {"TERM", "xterm"},        {"EDITOR", "vi"},        {"BUILDKITE_COMMAND", "x"},   {"BUILDKITE_BUILD_AUTHOR", "A"},
      {"BUILDKITE_SHELL", "x"}, {"MY_UNKNOWN", "value"}, {"TRACEPARENT", "00-1-2-01"},
  };
  const auto result = runner::job_environment(host, {});
  REQUIRE(result);
  const Environment expected{{"CI", "true"},
                             {"BUILDKITE", "true"},
                             {"BUILDKITE_BRANCH", "main"},
                             {"TERM", "xterm"},
                             {"BUILDKITE_MESSAGE", "a\nb"},
                             {"BUILDKITE_BUILD_AUTHOR", "A"},
                             {"TRACEPARENT", "00-1-2-01"}};
  CHECK(result->variables == expected);
}

TEST_CASE("AGR-04 the agent's tokens, the host's sockets and cloud credentials stay on the host") {
  const char* const secrets[] = {
      "BUILDKITE_AGENT_ACCESS_TOKEN",
      "BUILDKITE_AGENT_TOKEN",
      "BUILDKITE_AGENT_JOB_API_SOCKET",
      "BUILDKITE_AGENT_JOB_API_TOKEN",
      "BUILDKITE_REQUEST_HEADER_X",
      "BUILDKITE_AGENT_JWKS_FILE",
      "BUILDKITE_AGENT_AWS_KMS_KEY",
      "BUILDKITE_GIT_SSH_KEY",
      "BUILDKITE_GIT_REMOTE_MIRROR_URL",
      "BUILDKITE_S3_ACCESS_KEY_ID",
      "BUILDKITE_ARTIFACTORY_PASSWORD",
      "BUILDKITE_ENV_FILE",
      "BUILDKITE_PLUGINS",
      "BUILDKITE_PLUGIN_CONFIGURATION",
      "BUILDKITE_PLUGINS_PATH",
      "BUILDKITE_CONFIG_PATH",
      "OTEL_EXPORTER_OTLP_HEADERS",
      "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
      "SSH_AUTH_SOCK",
      "GIT_SSH_COMMAND",
      "GIT_ASKPASS",
      "GIT_CONFIG_COUNT",
      "AWS_SECRET_ACCESS_KEY",
      "AWS_SESSION_TOKEN",
      "GOOGLE_APPLICATION_CREDENTIALS",
      "AZURE_CLIENT_ID",
      "DOCKER_CONFIG",
      "KUBECONFIG",
      "VAULT_ADDR",
      "GITHUB_TOKEN",
      "NPM_TOKEN",
      "npm_token",
      "PATH",
      "HOME",
      "LD_PRELOAD",
      "BASH_ENV",
      "XDG_RUNTIME_DIR",
      "SUDO_COMMAND",
      "SHELL",
      "BUILDKITE_AGENT_META_DATA_API_TOKEN",
      "CLEANROOM_CONFIG_DIR",
      "HTTPS_PROXY",
  };
  Environment host;
  runner::JobEnvironmentOptions options;
  for (const char* name : secrets) {
    host[name] = "host-secret";
    options.step_names.insert(name);  // a step that names them in its `env:` does not change that
  }
  const auto result = runner::job_environment(host, options);
  REQUIRE(result);
  CHECK(result->variables.empty());

  SUBCASE("not even by name") {
    for (const char* name : secrets) {
      CAPTURE(name);
      const auto asked = runner::job_environment(host, {.requested = {{name, std::nullopt}}});
      REQUIRE_FALSE(asked);
      CHECK(asked.error().reason == "environment_refused");
      CHECK(asked.error().message.find("host-secret") == std::string::npos);
    }
  }
}

TEST_CASE("SUP-06 the operator can list a credential, but not the agent's own") {
  const Environment host{{"NPM_TOKEN", "n"}, {"AWS_ROLE", "r"}, {"BUILDKITE_AGENT_ACCESS_TOKEN", "t"}};
  const auto with = [&](const char* name, std::vector<std::string> allowed) {
    return runner::job_environment(host, {.requested = {{name, std::nullopt}}, .operator_allowed = std::move(allowed)});
  };
  CHECK(with("NPM_TOKEN", {"NPM_TOKEN"}));
  CHECK(with("AWS_ROLE", {"AWS_*"}));
  CHECK_FALSE(with("NPM_TOKEN", {"AWS_*"}));
  CHECK_FALSE(with("NPM_TOKEN", {"*"}));
  CHECK_FALSE(with("NPM_TOKEN", {"_*"}));
  CHECK_FALSE(with("BUILDKITE_AGENT_ACCESS_TOKEN", {"BUILDKITE_AGENT_ACCESS_TOKEN", "BUILDKITE_*"}));
}

TEST_CASE("SUP-06 a request is one name: no wildcards, no other characters") {
  for (const char* text : {"*", "AWS_*", "", "=x", "1A", "A B", "A-B", "-e", "A\nB=c", "\xc3\x84=1"}) {
    CAPTURE(text);
    const auto request = runner::parse_environment_request(text);
    REQUIRE_FALSE(request);
    CHECK(request.error().reason == "environment_refused");
  }
  CHECK(runner::parse_environment_request("A")->value == std::nullopt);
  CHECK(runner::parse_environment_request("A=")->value == "");
  CHECK(runner::parse_environment_request("_a1=x=y")->value == "x=y");
  CHECK_FALSE(runner::parse_environment_request(std::string_view("A=\0", 3)));
}

TEST_CASE("SUP-03 values pass byte for byte") {
  const std::string nasty = "-n $(x) `y` ${IFS} *?[a] \\ ' \" \t\r\n;|&<>\x01\xff\n\n";
  const auto request = runner::parse_environment_request("A=" + nasty);
  REQUIRE(request);
  const auto result = runner::job_environment({{"STEP", nasty}}, {.requested = {*request}, .step_names = {"STEP"}});
  REQUIRE(result);
  CHECK(result->variables.at("A") == nasty);
  CHECK(result->variables.at("STEP") == nasty);
}

TEST_CASE("the step's env passes, unless it is switched off") {
  const Environment host{{"FOO", "1"}, {"NOT_OF_THE_STEP", "2"}, {"DEPLOY_TOKEN", "3"}, {"PATH", "/x"}};
  const std::set<std::string, std::less<>> names{"FOO", "DEPLOY_TOKEN", "PATH", "GONE"};
  const auto on = runner::job_environment(host, {.step_names = names});
  REQUIRE(on);
  CHECK(on->variables == Environment{{"FOO", "1"}});
  CHECK(has_note(on->notes, "'DEPLOY_TOKEN' stays on the host: it looks like a credential"));
  CHECK(has_note(on->notes, "'PATH' stays on the host"));
  const auto off = runner::job_environment(host, {.propagate_step_environment = false, .step_names = names});
  REQUIRE(off);
  CHECK(off->variables.empty());
}

TEST_CASE("a value in the request beats the host's, and a name without value takes it") {
  const Environment host{{"BUILDKITE_BRANCH", "main"}, {"EDITOR", "vi"}};
  const auto result = runner::job_environment(
      host,
      {.requested = {
           {"BUILDKITE_BRANCH", "other"}, {"EDITOR", std::nullopt}, {"ABSENT", std::nullopt}, {"PATH", "/guest/bin"}}});
  REQUIRE(result);
  CHECK(result->variables == Environment{{"BUILDKITE_BRANCH", "other"}, {"EDITOR", "vi"}, {"PATH", "/guest/bin"}});
  CHECK(has_note(result->notes, "'ABSENT'"));
}

TEST_CASE("BUILDKITE_REDACTED_VARS adds to what counts as a credential") {
  const Environment host{{"BUILDKITE_REDACTED_VARS", "*_HUSH, MY_?"}, {"A_HUSH", "1"}, {"OPEN", "2"}};
  const auto result = runner::job_environment(host, {.step_names = {"A_HUSH", "OPEN"}});
  REQUIRE(result);
  CHECK(result->variables == Environment{{"OPEN", "2"}});
}

TEST_CASE("URLs lose their credentials and the checkout path is the guest's") {
  const Environment host{{"BUILDKITE_REPO", "https://user:token@git.example.com/a.git"},
                         {"BUILDKITE_BUILD_URL", "https://x@example.com/b"},
                         {"BUILDKITE_BUILD_CHECKOUT_PATH", "/var/lib/agent/builds/x"}};
  const auto result = runner::job_environment(host, {.guest_checkout = "/w"});
  REQUIRE(result);
  CHECK(result->variables.at("BUILDKITE_REPO") == "https://git.example.com/a.git");
  CHECK(result->variables.at("BUILDKITE_BUILD_URL") == "https://example.com/b");
  CHECK(result->variables.at("BUILDKITE_BUILD_CHECKOUT_PATH") == "/w");

  const std::pair<const char*, const char*> cases[] = {
      {"https://h/a@b", "https://h/a@b"},
      {"HTTPS://u@h", "HTTPS://h"},
      {"ssh://git:pw@h/p", "ssh://git@h/p"},
      {"git@github.com:a/b.git", "git@github.com:a/b.git"},
      {"https://a@b:c@h/p", "https://h/p"},
      {"/local/path", "/local/path"},
      {"https://u@evil.com\\@h/", "https://evil.com\\@h/"},
      {"", ""},
  };
  for (const auto& [in, out] : cases)
    CHECK(runner::without_userinfo(in) == out);
}

TEST_CASE("too much is refused when asked for, and left out otherwise") {
  const std::string big(runner::kMaxVariableBytes, 'x');
  CHECK_FALSE(runner::job_environment({}, {.requested = {{"A", big}}}));
  const auto left_out = runner::job_environment({{"BUILDKITE_MESSAGE", big}}, {});
  REQUIRE(left_out);
  CHECK(left_out->variables.empty());
  CHECK(has_note(left_out->notes, "longer than"));
  runner::JobEnvironmentOptions many;
  for (int i = 0; i < 9; ++i)
    many.requested.push_back({"V" + std::to_string(i), std::string(runner::kMaxVariableBytes - 3, 'x')});
  CHECK_FALSE(runner::job_environment({}, many));
}

TEST_CASE("names in the agent's env files") {
  const auto json = runner::names_in_env_json(R"({"A":"1","B_2":"x\ny","bad name":"1","N":3})");
  REQUIRE(json);
  CHECK(*json == std::set<std::string, std::less<>>{"A", "B_2"});
  for (const char* bad : {"", "[]", "{", "{\"A\":{\"B\":{}}}", "{\"A\":\"1\",\"A\":\"2\"}", "null"})
    CHECK_FALSE(runner::names_in_env_json(bad));
  CHECK_FALSE(runner::names_in_env_json(std::string(100'000, '[')));
  CHECK(runner::names_in_env_file("AGENT_VARIABLE\nA=\"1\"\nB=\"x\\ny\"\n=\"z\"\nno name=\"1\"\n") ==
        std::set<std::string, std::less<>>{"A", "B"});
}

TEST_CASE("the env file is found through the environment, and must be a regular file") {
  const std::string path = "/tmp/cleanroom-env-" + std::to_string(::getpid());
  std::ofstream(path) << "A=\"1\"\n";
  CHECK(runner::step_variable_names({{"BUILDKITE_ENV_FILE", path}})->contains("A"));
  std::remove(path.c_str());
  CHECK(runner::step_variable_names({})->empty());
  CHECK_FALSE(runner::step_variable_names({{"BUILDKITE_ENV_FILE", path}}));
  CHECK_FALSE(runner::step_variable_names({{"BUILDKITE_ENV_JSON_FILE", "/dev/zero"}}));
}

TEST_CASE("patterns match without regard to case, and never slowly") {
  CHECK(runner::matches_pattern("*_TOKEN", "npm_token"));
  CHECK(runner::matches_pattern("A*B*C", "aXbYc"));
  CHECK_FALSE(runner::matches_pattern("A*B*C", "aXbYcD"));
  CHECK(runner::matches_pattern("*", ""));
  CHECK_FALSE(runner::matches_pattern("", "x"));
  std::string stars;
  for (int i = 0; i < 100; ++i)
    stars += "*a";
  CHECK_FALSE(runner::matches_pattern(stars + "b", std::string(5000, 'a')));
}
