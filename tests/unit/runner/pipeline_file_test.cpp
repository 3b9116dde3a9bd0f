#include "src/runner/pipeline_file.h"

#include "src/runner/pipeline_interpolation.h"
#include "tests/unit/capture_binding.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using runner::Environment;

namespace {

constexpr const char* kPipeline = R"(
env: {LEVEL: "1", SHARED: pipeline}
common: &common
  timeout_in_minutes: 15
  env: &env
    SHARED: step
    MODE: 0755
steps:
  - key: first
    <<: *common
    label: ":hammer: Build"
    commands:
      - make
      - make test
    artifact_paths: "build/*.txt; logs/**"
    plugins:
      - cache#v1.0.0: {path: x}
      - cleanroom#v1.0.0: &options
          image: debian
          environment: ["A", "B=$$X $LEVEL"]
          vcpus: 2
          debug: true
  - wait
  - group: Tests
    steps:
      - key: grouped
        command: |
          echo "$LEVEL $$HOME ${UNSET:-none}"
          exit 3
        env: {<<: *env, EXTRA: ~}
        plugins: {github.com/o/cleanroom-buildkite-plugin#v1: *options}
  - {id: bare, command: scripts/test.sh}
  - {block: ask, key: blocked}
  - {key: many, command: x, matrix: [a, b]}
  - {command: no key}
)";

base::Result<runner::PipelineStep> step(std::string_view key, std::string_view text = kPipeline) {
  return runner::parse_pipeline_step(text, "pipeline.yml", key, {});
}

}  // namespace

TEST_CASE("a step of a pipeline, with anchors and merge keys") {
  const auto first = step("first");
  REQUIRE(first);
  CHECK(first->label == ":hammer: Build");
  CHECK(first->command == "make\nmake test");
  CHECK(first->environment == Environment{{"LEVEL", "1"}, {"SHARED", "step"}, {"MODE", "0755"}});
  CHECK(first->timeout == std::chrono::minutes(15));
  CHECK(first->artifact_paths == std::vector<std::string>{"build/*.txt; logs/**"});
  CHECK(first->plugin_source == "cleanroom#v1.0.0");
  CHECK(first->options.image == "debian");
  CHECK(first->options.vcpus == 2u);
  CHECK(first->options.debug);
  CHECK(first->options.environment.at(1).value == "$X 1");
  REQUIRE(first->notes.size() == 1);
  CHECK(first->notes.at(0).text.find("cache#v1.0.0") != std::string::npos);
}

TEST_CASE("steps in groups, and steps without the plugin") {
  const auto grouped = step("grouped");
  REQUIRE(grouped);
  CHECK(grouped->command == "echo \"1 $HOME none\"\nexit 3\n");
  CHECK(grouped->environment == Environment{{"LEVEL", "1"}, {"SHARED", "step"}, {"MODE", "0755"}, {"EXTRA", ""}});
  CHECK(grouped->options.image == "debian");
  const auto bare = step("bare");
  REQUIRE(bare);
  CHECK(bare->plugin_source.empty());
  CHECK(bare->command == "scripts/test.sh");
}

TEST_CASE("a step that is not there, and steps that do not run here") {
  const auto unknown = step("frist");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code == base::Code::not_found);
  CHECK(unknown.error().hint.find("did you mean 'first'?") != std::string::npos);
  CHECK(unknown.error().hint.find("grouped") != std::string::npos);
  CHECK(step("blocked").error().message.find("is a block step") != std::string::npos);
  CHECK(step("many").error().message.find("matrix") != std::string::npos);
}

TEST_CASE("the same pipeline as JSON, and as a plain list of steps") {
  const auto json = step("a", R"({"steps":[{"key":"a","command":["x","y"],"plugins":["cleanroom#v1"]}]})");
  REQUIRE(json);
  CHECK(json->command == "x\ny");
  CHECK(json->plugin_source == "cleanroom#v1");
  CHECK(step("a", "- {key: a, command: x}\n")->command == "x");
}

TEST_CASE("what is no pipeline is one error with its line") {
  const std::pair<const char*, const char*> cases[] = {
      {"", "empty"},
      {"steps: 5", "no list of `steps`"},
      {"a: b", "no list of `steps`"},
      {"steps:\n - key: a\n   key: b", "3:"},
      {"steps: [", "not valid YAML"},
      {"steps: []\n---\nsteps: []", "more than one document"},
      {"steps:\n- {key: a, command: x, commands: y}", "not both"},
      {"steps:\n- {key: a, command: {x: y}}", "is to be text"},
      {"steps:\n- {key: a, command: x}\n- {key: a, command: y}", "twice"},
      {"steps:\n- {key: a, timeout_in_minutes: soon}", "whole number of minutes"},
      {"steps:\n- {key: a, env: [x]}", "`env` is to be a mapping"},
      {"steps:\n- {key: a, plugins: [cleanroom#v1: {imgae: x}]}", "no such option"},
      {"steps:\n- {key: a, plugins: [cleanroom#v1, cleanroom#v2]}", "twice"},
      {"steps:\n- {key: a, command: \"${X?not set}\"}", "not set"},
      {"steps:\n- {key: a, <<: 5}", "merge key"},
      {"a: &a [*a]\nsteps: []", "part of"},
      {"steps: [*unknown]", "not valid YAML"},
      {"steps: [\xff]", "UTF-8"},
  };
  for (const auto& [text, message] : cases) {
    CAPTURE_BINDING(text);
    const auto result = step("a", text);
    REQUIRE_FALSE(result);
    CHECK(result.error().reason != "");
    CAPTURE(result.error().message);
    CHECK(result.error().message.find(message) != std::string::npos);
  }
}

TEST_CASE("aliases that grow, deep nesting and long files are stopped") {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = std::to_string(i - 1), name = std::to_string(i);
    bomb += "a" + name + ": &a" + name + " [*a" + before;
    for (int j = 0; j < 9; ++j)
      bomb += ", *a" + before;
    bomb += "]\n";
  }
  CHECK(step("a", bomb).error().message.find("more than 50000 values") != std::string::npos);
  CHECK(step("a", std::string(100'000, '[')).error().message.find("nested deeper") != std::string::npos);
  CHECK(step("a", std::string(100'000, '{')).error().message.find("nested deeper") != std::string::npos);
  CHECK_FALSE(step("a", "steps: '" + std::string(runner::kMaxPipelineBytes, 'x') + "'"));
}

TEST_CASE("variables expand as pipeline upload does it") {
  const Environment env{{"A", "abc"}, {"EMPTY", ""}, {"N_1", "n"}};
  const std::pair<const char*, const char*> cases[] = {
      {"", ""},
      {"$A-$N_1", "abc-n"},
      {"${A}x", "abcx"},
      {"$UNSET|${UNSET}", "|"},
      {"${EMPTY:-d} ${EMPTY-d} ${UNSET-d}", "d  d"},
      {"${UNSET:-${A}-$A}", "abc-abc"},
      {"$$A \\$A $${A}", "$A $A ${A}"},
      {"$(pwd) `x` $1 $ $", "$(pwd) `x` $1 $ $"},
      {"\\\\$A", "\\\\abc"},
      {"${A:1} ${A:1:1} ${A:-1} ${A:0:-1} ${A:9}", "bc b abc ab "},
      {"${A?x}", "abc"},
      {"\xff\x01 *\n", "\xff\x01 *\n"},
  };
  for (const auto& [in, out] : cases) {
    CAPTURE_BINDING(in);
    const auto result = runner::interpolate(in, env);
    REQUIRE(result);
    CHECK(*result == out);
  }
  for (const char* bad : {"${", "${}", "${A", "${A!}", "${UNSET?gone}", "${A:x}", "${A:1:y}", "${1}"}) {
    CAPTURE(bad);
    CHECK_FALSE(runner::interpolate(bad, env));
  }
  std::string deep;
  for (int i = 0; i < 100'000; ++i)
    deep += "${X:-";
  CHECK_FALSE(runner::interpolate(deep, env));
}

TEST_CASE("no pipeline file: the error names where it was looked for") {
  const auto none = runner::find_pipeline_file("/nonexistent");
  REQUIRE_FALSE(none);
  CHECK(none.error().hint.find(".buildkite/pipeline.yml") != std::string::npos);
}
