#include "src/runner/buildkite_plugin_config.h"

#include "src/runner/buildkite_check.h"
#include "src/runner/plugin_source.h"
#include "tests/unit/capture_binding.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using runner::Environment;

namespace {

runner::PluginOptions parsed(std::string_view json) {
  auto options = runner::parse_plugin_configuration(json);
  if (!options) FAIL(options.error().describe());
  return *options;
}

}  // namespace

TEST_CASE("all options of the plugin") {
  const auto options = parsed(R"({
    "image": "docker.io/library/debian@sha256:0", "policy": "ci/cleanroom.yaml", "workdir": "/src",
    "environment": ["A", "B=1 2"], "propagate-environment": false, "outputs": ["build/**", "log.txt"],
    "shell": ["/bin/sh", "-e", "-c"], "vcpus": 4, "memory": "2g", "timeout": "1h30m",
    "keep-on-failure": true, "debug": "true"})");
  CHECK(options.image == "docker.io/library/debian@sha256:0");
  CHECK(options.policy == "ci/cleanroom.yaml");
  CHECK(options.workdir == "/src");
  CHECK(options.environment == std::vector<runner::EnvironmentRequest>{{"A", std::nullopt}, {"B", "1 2"}});
  CHECK_FALSE(options.propagate_environment);
  CHECK(options.outputs == std::vector<std::string>{"build/**", "log.txt"});
  CHECK(options.shell == std::vector<std::string>{"/bin/sh", "-e", "-c"});
  CHECK(options.vcpus == 4u);
  CHECK(options.memory_mib == 2048u);
  CHECK(options.timeout == std::chrono::minutes(90));
  CHECK(options.keep_on_failure);
  CHECK(options.debug);
}

TEST_CASE("defaults, synonyms, and a string for a list of one") {
  for (const char* none : {"{}", "null"}) {
    const auto options = parsed(none);
    CHECK_FALSE(options.image);
    CHECK(options.propagate_environment);
    CHECK(options.environment.empty());
  }
  const auto options = parsed(R"({"env": "A=1", "output": "x", "cpus": "2", "memory": 512, "timeout": 90,
                                  "shell": "/bin/bash -o 'e x' -c"})");
  CHECK(options.environment.size() == 1);
  CHECK(options.outputs == std::vector<std::string>{"x"});
  CHECK(options.vcpus == 2u);
  CHECK(options.memory_mib == 512u);
  CHECK(options.timeout == std::chrono::seconds(90));
  CHECK(options.shell == std::vector<std::string>{"/bin/bash", "-o", "e x", "-c"});
}

TEST_CASE("what is not right is one clear error") {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"imgae": "x"})", "'imgae': there is no such option"},
      {R"({"allow-emulation": true})", "there is no such option"},
      {R"({"repository-hooks": "allow"})", "there is no such option"},
      {R"({"image": null})", "'image': it is null"},
      {R"({"image": 5})", "'image': a string is expected, not a number"},
      {R"({"image": ""})", "it is empty"},
      {R"({"image": "--privileged"})", "starts with '-'"},
      {R"({"image": "a\nb"})", "control character"},
      {R"({"policy": "/etc/passwd"})", "inside the checkout"},
      {R"({"policy": "a/../../b"})", "inside the checkout"},
      {R"({"workdir": "work"})", "absolute path"},
      {R"({"workdir": "/a/.."})", "absolute path"},
      {R"({"workdir": "/"})", "absolute path"},
      {R"({"environment": ["*"]})", "not a variable's name"},
      {R"({"environment": {"A": "1"}})", "a list of strings is expected, not a mapping"},
      {R"({"environment": [1]})", "environment[0]"},
      {R"({"environment": [null]})", "not null"},
      {R"({"env": ["A"], "environment": ["B"]})", "the same option"},
      {R"({"command": "make test"})", "a list of words"},
      {R"({"command": ["a"], "shell": ["b"]})", "without a shell"},
      {R"({"shell": "'x"})", "quote"},
      {R"({"vcpus": 0})", "from 1 to 256"},
      {R"({"vcpus": 1.5})", "whole number"},
      {R"({"vcpus": -1})", "whole number"},
      {R"({"vcpus": "1e3"})", "from 1 to 256"},
      {R"({"memory": "lots"})", "no amount of memory"},
      {R"({"memory": 1})", "not between 64 MiB"},
      {R"({"memory": "999999999g"})", "not between"},
      {R"({"timeout": "soon"})", "no duration"},
      {R"({"timeout": "25h"})", "not between"},
      {R"({"timeout": "-5m"})", "starts with '-'"},
      {R"({"debug": 1})", "true or false"},
      {R"({"image": "a", "image": "b"})", "duplicate key"},
      {R"([])", "a mapping is expected, not a list"},
      {R"({"image": "a"} x)", "JSON"},
      {"", "JSON"},
  };
  for (const auto& [json, message] : cases) {
    CAPTURE_BINDING(json);
    const auto options = runner::parse_plugin_configuration(json);
    REQUIRE_FALSE(options);
    CHECK(options.error().code == base::Code::invalid_input);
    CHECK(options.error().message.find(message) != std::string::npos);
  }
  CHECK(runner::parse_plugin_configuration(R"({"imgae": "x"})").error().hint == "did you mean 'image'?");
}

TEST_CASE("SUP-03 options pass byte for byte") {
  const auto options = parsed(R"({"environment": ["A=$(x)\n`y` * -z \\ \u0001 \u00e9"], "outputs": "$(x)*\n-f"})");
  CHECK(options.environment.at(0).value == "$(x)\n`y` * -z \\ \x01 \xc3\xa9");
  CHECK(options.outputs.at(0) == "$(x)*\n-f");
}

TEST_CASE("limits of the options' JSON") {
  CHECK_FALSE(runner::parse_plugin_configuration(std::string(1'000'000, '[')));
  CHECK_FALSE(runner::parse_plugin_configuration("{\"image\":\"" + std::string(300'000, 'x') + "\"}"));
  std::string list = "{\"outputs\":[\"a\"";
  for (int i = 0; i < 1000; ++i)
    list += ",\"a\"";
  CHECK_FALSE(runner::parse_plugin_configuration(list + "]}"));
}

TEST_CASE("SUP-01 options come from the agent's JSON, and from nowhere else") {
  const Environment spoof{{"BUILDKITE_PLUGIN_CLEANROOM_IMAGE", "evil"}, {"CLEANROOM_IMAGE", "evil"}};
  SUBCASE("the configuration alone") {
    Environment env = spoof;
    env["BUILDKITE_PLUGIN_CONFIGURATION"] = R"({"vcpus": 1})";
    const auto options = runner::read_plugin_options(env);
    REQUIRE(options);
    CHECK_FALSE(options->image);
    CHECK(options->vcpus == 1u);
  }
  SUBCASE("nothing from the agent: refused, whatever else is set") {
    CHECK_FALSE(runner::read_plugin_options(spoof));
  }
  SUBCASE("a configuration that the step's plugins do not have is refused") {
    Environment env = spoof;
    env["BUILDKITE_PLUGIN_NAME"] = "CLEANROOM";
    env["BUILDKITE_PLUGINS"] = R"([{"github.com/x/cleanroom-buildkite-plugin#v1": {"image": "a"}}])";
    env["BUILDKITE_PLUGIN_CONFIGURATION"] = R"({"image": "evil"})";
    CHECK_FALSE(runner::read_plugin_options(env));
    env["BUILDKITE_PLUGIN_CONFIGURATION"] = R"({ "image" : "a" })";
    CHECK(runner::read_plugin_options(env)->image == "a");
  }
}

TEST_CASE("an agent that drops the options because of a null: the list of plugins says so") {
  Environment env{{"BUILDKITE_PLUGINS", R"([{"file:///x/cleanroom-buildkite-plugin#v1": {"image": "a"}}])"}};
  CHECK(runner::read_plugin_options(env)->image == "a");
  env["BUILDKITE_PLUGINS"] = R"([{"./cleanroom": {"image": null}}])";
  const auto null_value = runner::read_plugin_options(env);
  REQUIRE_FALSE(null_value);
  CHECK(null_value.error().message.find("'image': it is null") != std::string::npos);
  SUBCASE("and a step that fills the gap gains nothing") {
    Environment filled = env;
    filled["BUILDKITE_PLUGIN_CONFIGURATION"] = R"({"image": "evil"})";
    CHECK_FALSE(runner::read_plugin_options(filled));
  }
  env["BUILDKITE_PLUGINS"] = R"(["cleanroom#v1"])";
  CHECK(runner::read_plugin_options(env).has_value());
  env["BUILDKITE_PLUGIN_CONFIGURATION"] = "{}";
  CHECK(runner::read_plugin_options(env).has_value());
  env["BUILDKITE_PLUGIN_NAME"] = "CLEANROOM_GIT";
  env["BUILDKITE_PLUGINS"] = R"([{"https://h/cleanroom.git#v1": null}])";
  CHECK(runner::read_plugin_options(env).has_value());
}

TEST_CASE("plugin names, folders and subdirectories are the agent's") {
  struct Case {
    const char* source;
    const char* name;
    const char* identifier;
    const char* subdirectory;
  };
  const Case cases[] = {
      {"github.com/buildkite-plugins/docker-buildkite-plugin#v5.13.0", "docker",
       "github-com-buildkite-plugins-docker-buildkite-plugin-v5-13-0", ""},
      {"https://user:pw@github.com/o/r/Sub_Dir#v1", "sub-dir", "github-com-o-r-Sub-Dir-v1", "Sub_Dir"},
      {"file:///srv/cleanroom-buildkite-plugin.git#v1", "cleanroom", "srv-cleanroom-buildkite-plugin-git-v1", ""},
      {"https://h/o/r.git/a/b#v", "b", "h-o-r-git-a-b-v", "a/b"},
      {"./.buildkite/plugins/cleanroom/", "cleanroom", "buildkite-plugins-cleanroom", ""},
      {"cleanroom", "cleanroom", "cleanroom", ""},
  };
  for (const Case& one : cases) {
    CAPTURE(one.source);
    const auto source = runner::PluginSource::parse(one.source);
    CHECK(source.name() == one.name);
    CHECK(source.identifier() == one.identifier);
    if (!source.vendored) CHECK(source.subdirectory() == one.subdirectory);
  }
}

TEST_CASE("SUP-04 another plugin with a command hook would run on the host: refused") {
  const auto nowhere = [](const std::string&) { return false; };
  Environment env{{"BUILDKITE_PLUGIN_NAME", "CLEANROOM"},
                  {"BUILDKITE_PLUGINS_PATH", "/p"},
                  {"BUILDKITE_AGENT_NAME", "agent-1"},
                  {"BUILDKITE_BUILD_CHECKOUT_PATH", "/c"}};
  const auto plugins = [&](const char* json) { env["BUILDKITE_PLUGINS"] = json; };
  SUBCASE("known ones") {
    plugins(R"([{"github.com/buildkite-plugins/docker-buildkite-plugin#v5": {"image": "x"}}, {"cleanroom#v1": {}}])");
    const auto notes = runner::check_other_plugins(env, nowhere);
    REQUIRE_FALSE(notes);
    CHECK(notes.error().reason == "plugin_conflict");
    CHECK(notes.error().message.find("docker") != std::string::npos);
  }
  SUBCASE("found on disk, as new and as old agents lay them out") {
    plugins(R"([{"cleanroom#v1": {}}, {"github.com/o/x-buildkite-plugin#v2": {}}])");
    for (const char* hook : {"/p/agent-1/github-com-o-x-buildkite-plugin-v2/hooks/command",
                             "/p/github-com-o-x-buildkite-plugin-v2/hooks/command"}) {
      CAPTURE(hook);
      CHECK_FALSE(runner::check_other_plugins(env, [hook](const std::string& path) { return path == hook; }));
    }
  }
  SUBCASE("vendored in the checkout") {
    plugins(R"([{"cleanroom#v1": {}}, {"./tools/x": {}}])");
    CHECK_FALSE(
        runner::check_other_plugins(env, [](const std::string& p) { return p == "/c/./tools/x/hooks/command"; }));
  }
  SUBCASE("twice the same") {
    plugins(R"([{"cleanroom#v1": {}}, "cleanroom#v2"])");
    CHECK_FALSE(runner::check_other_plugins(env, nowhere));
  }
  SUBCASE("others are named in a warning") {
    plugins(R"([{"cleanroom#v1": {}}, {"cache#v1": {}}, {"kubernetes": {}}])");
    const auto notes = runner::check_other_plugins(env, nowhere);
    REQUIRE(notes);
    REQUIRE(notes->size() == 1);
    CHECK(notes->at(0).text.find("'cache'") != std::string::npos);
  }
  SUBCASE("no list at all") {
    CHECK(runner::check_other_plugins({}, nowhere)->empty());
  }
  SUBCASE("a list that is none") {
    for (const char* bad : {"{}", "[1]", "[", "\"x\""}) {
      plugins(bad);
      CHECK_FALSE(runner::check_other_plugins(env, nowhere));
    }
  }
}

TEST_CASE("SUP-06 the early check refuses what the run would refuse") {
  Environment env{{"BUILDKITE_PLUGIN_CONFIGURATION", R"({"environment": ["GITHUB_TOKEN"]})"},
                  {"GITHUB_TOKEN", "secret"}};
  const auto refused = runner::check_buildkite_step(env, {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().reason == "environment_refused");
  CHECK(runner::check_buildkite_step(env, {"GITHUB_TOKEN"}));
}
