#include "src/runner/request_builder.h"

#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::runner;

namespace {

struct Checkout {
  base::TempDir directory = base::TempDir::create("/tmp", "cleanroom-test-").value();
  CommandLine line;
  Checkout() { line.checkout = directory.path(); }
  void write(const std::string& name, const std::string& text) {
    const auto path = directory.path() / name;
    REQUIRE(base::make_private_directories(path.parent_path()).has_value());
    REQUIRE(base::write_file_atomically(path, text).has_value());
  }
};

constexpr const char* kPipeline = R"(
env: {FROM_PIPELINE: one}
steps:
  - key: test
    command: make test
    timeout_in_minutes: 2
    artifact_paths: "build/*.txt;/var/log/x"
    env: {FROM_STEP: two}
    plugins:
      - cleanroom#v1.0.0: {memory: 512, output: report.xml, workdir: /src}
)";

}  // namespace

TEST_SUITE("runner/request_builder") {
  TEST_CASE("a plain command runs as it is") {
    Checkout checkout;
    checkout.line.command = {"make", "a b", "$(x)"};
    checkout.line.environment = {"A=1", "B"};
    const auto request = build_request(checkout.line, {{"B", "from the shell"}, {"HOME", "/home/me"}});
    REQUIRE(request.has_value());
    CHECK(request->command.candidates == std::vector<std::vector<std::string>>{{"make", "a b", "$(x)"}});
    CHECK(request->environment.at("A") == "1");
    CHECK(request->environment.at("B") == "from the shell");
    CHECK(request->environment.find("HOME") == request->environment.end());
    CHECK_FALSE(request->under_buildkite);
  }

  TEST_CASE("a step brings its command, environment, options and outputs; the command line counts before them") {
    Checkout checkout;
    checkout.write(".buildkite/pipeline.yml", kPipeline);
    checkout.line.step = "test";
    checkout.line.memory = "2g";
    checkout.line.outputs = {"extra.log", "report.xml"};
    const auto request = build_request(checkout.line, {});
    REQUIRE(request.has_value());
    CHECK(request->command.display == "make test");
    CHECK(request->environment.at("FROM_PIPELINE") == "one");
    CHECK(request->environment.at("FROM_STEP") == "two");
    CHECK(request->memory_mib == 2048);
    CHECK(request->workdir == "/src");
    CHECK(request->timeout == std::chrono::seconds(120));
    CHECK(request->outputs == std::vector<std::string>{"build/*.txt", "extra.log", "report.xml"});
  }

  TEST_CASE("a command line that contradicts itself is a usage error") {
    Checkout checkout;
    checkout.write(".buildkite/pipeline.yml", kPipeline);
    CHECK(build_request(checkout.line, {}).error().reason == "usage");
    checkout.line.step = "test";
    checkout.line.command = {"true"};
    CHECK(build_request(checkout.line, {}).error().reason == "usage");
    checkout.line.step.reset();
    checkout.line.pipeline = "x";
    CHECK(build_request(checkout.line, {}).error().reason == "usage");
  }

  TEST_CASE("an output pattern that leaves the checkout is refused before anything starts") {
    Checkout checkout;
    checkout.line.command = {"true"};
    for (const char* pattern : {"/etc/passwd", "../x", "a/../../b", "~/x"}) {
      checkout.line.outputs = {pattern};
      CAPTURE(pattern);
      CHECK_FALSE(build_request(checkout.line, {}).has_value());
    }
  }

  TEST_CASE("SUP-01 under Buildkite only the plugin's configuration counts, not variables of the step") {
    Checkout checkout;
    checkout.line.buildkite = true;
    const Environment agent{{"BUILDKITE", "true"},
                            {"BUILDKITE_BUILD_CHECKOUT_PATH", checkout.directory.path()},
                            {"BUILDKITE_COMMAND", "echo one\necho two"},
                            {"BUILDKITE_PLUGIN_NAME", "CLEANROOM"},
                            {"BUILDKITE_PLUGIN_CONFIGURATION", R"({"memory":512})"},
                            {"BUILDKITE_PLUGIN_CLEANROOM_MEMORY", "9999"},
                            {"CLEANROOM_IMAGE", "evil"},
                            {"BUILDKITE_AGENT_ACCESS_TOKEN", "canary-token"},
                            {"BUILDKITE_ORGANIZATION_SLUG", "acme"},
                            {"BUILDKITE_PIPELINE_SLUG", "web"},
                            {"BUILDKITE_REPO_MIRROR", "/etc"}};
    const auto request = build_request(checkout.line, agent);
    REQUIRE(request.has_value());
    CHECK(request->memory_mib == 512);
    CHECK_FALSE(request->image.has_value());
    CHECK(request->pipeline_slug == "acme/web");
    CHECK(request->repo_mirror.empty());
    CHECK(request->under_buildkite);
    CHECK(request->command.candidates.front().back() == "echo one\necho two");
    for (const auto& [name, value] : request->environment)
      CHECK(value != "canary-token");
  }
}
