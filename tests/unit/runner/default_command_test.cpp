#include "src/runner/default_command.h"

#include "tests/unit/capture_binding.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using Kind = runner::CommandPlan::Kind;
using Words = std::vector<std::string>;

namespace {

base::Result<runner::CommandPlan> plan(runner::CommandInput input, std::string file = {}) {
  return runner::plan_command(input, [file](const std::string& path) { return !file.empty() && path == file; });
}

}  // namespace

TEST_CASE("SUP-03 a command is one argument of the shell, byte for byte") {
  const std::string nasty = "-n first\nsecond $(x) `y` ${IFS} * ? [a] ~ \\ ' \" \t\r;|&<>\x01\xff end\n\n";
  const auto result = plan({.command = nasty});
  REQUIRE(result);
  CHECK(result->kind == Kind::commands);
  REQUIRE(result->candidates.size() == 2);
  CHECK(result->candidates[0] == Words{"/bin/bash", "-e", "-c", nasty});
  CHECK(result->candidates[1] == Words{"/bin/sh", "-e", "-c", nasty});
  CHECK(result->display == nasty);
  CHECK_FALSE(result->command_file);
}

TEST_CASE("a command that names a file of the checkout is a script") {
  const std::pair<const char*, const char*> cases[] = {
      {"scripts/test.sh", "scripts/test.sh"},
      {"./scripts/test.sh", "scripts/test.sh"},
      {"scripts/test.sh\n", "scripts/test.sh"},
      {"scripts//../scripts/./test.sh", "scripts/test.sh"},
      {"/scripts/test.sh", "scripts/test.sh"},  // the agent joins it to the checkout, too
      {"my script", "my script"},
  };
  for (const auto& [command, file] : cases) {
    CAPTURE_BINDING(command);
    const auto result = plan({.command = command}, file);
    REQUIRE(result);
    CHECK(result->kind == Kind::script);
    CHECK(result->script_path == file);
    CHECK(result->candidates[0] == Words{"/bin/bash", "-e", "-c", std::string("./") + file});
  }
}

TEST_CASE("a path that leaves the checkout is never looked at") {
  for (const char* command : {"../x", "a/../../x", "..", ".", "/", "./"}) {
    CAPTURE_BINDING(command);
    bool asked = false;
    const auto result =
        runner::plan_command({.command = command}, [&asked](const std::string&) { return asked = true; });
    REQUIRE(result);
    CHECK_FALSE(asked);
    CHECK(result->kind == Kind::commands);
  }
}

TEST_CASE("which shell") {
  CHECK(plan({.command = "x", .buildkite_shell = "/bin/bash -e -c"})->candidates.size() == 2);
  const auto host = plan({.command = "x", .buildkite_shell = "/bin/zsh -o 'err exit' -c"});
  REQUIRE(host);
  CHECK(host->candidates == std::vector<Words>{{"/bin/zsh", "-o", "err exit", "-c", "x"}});
  const auto plugin = plan({.command = "x", .shell = {"/bin/dash", "-c"}, .buildkite_shell = "/bin/zsh -c"});
  REQUIRE(plugin);
  CHECK(plugin->candidates == std::vector<Words>{{"/bin/dash", "-c", "x"}});
}

TEST_CASE("a list of words runs as it is") {
  const auto result = plan({.argv = {"make", "-n", "$(x)", ""}}, "make");
  REQUIRE(result);
  CHECK(result->kind == Kind::argv);
  CHECK(result->candidates == std::vector<Words>{{"make", "-n", "$(x)", ""}});
  CHECK_FALSE(plan({.command = "x", .argv = {"y"}}));
  CHECK_FALSE(plan({.argv = {""}}));
}

TEST_CASE("no command is an error, as with the agent") {
  for (const char* command : {"", " ", "\n\n", " \t\r\n"}) {
    const auto result = plan({.command = command});
    REQUIRE_FALSE(result);
    CHECK(result.error().reason == "command_invalid");
  }
  CHECK_FALSE(plan({.command = std::string("a\0b", 3)}));
  CHECK_FALSE(plan({.command = "x", .buildkite_shell = "'bash"}));
}

TEST_CASE("SUP-03 a command of 1 MB is a file in the guest") {
  std::string command = "true";
  while (command.size() < 1024 * 1024)
    command += "\n# $(x) `y`";
  const auto result = plan({.command = command});
  REQUIRE(result);
  REQUIRE(result->command_file);
  CHECK(result->command_file->content == command);
  CHECK(result->candidates[0] == Words{"/bin/bash", "-e", std::string(runner::kGuestCommandFile)});
  CHECK(result->candidates[1] == Words{"/bin/sh", "-e", std::string(runner::kGuestCommandFile)});
  SUBCASE("a cluster of options keeps the others") {
    CHECK(plan({.command = command, .shell = {"/bin/sh", "-ec"}})->candidates[0] ==
          Words{"/bin/sh", "-e", std::string(runner::kGuestCommandFile)});
  }
  SUBCASE("a shell that takes no -c cannot run it") {
    CHECK_FALSE(plan({.command = command, .shell = {"/usr/bin/run-it"}}));
  }
  SUBCASE("the last length that is an argument, and the first that is not") {
    CHECK_FALSE(plan({.command = std::string(runner::kMaxArgumentBytes, 'x')})->command_file);
    CHECK(plan({.command = std::string(runner::kMaxArgumentBytes + 1, 'x')})->command_file);
    CHECK_FALSE(plan({.command = std::string(runner::kMaxCommandBytes + 1, 'x')}));
  }
}

TEST_CASE("words of a shell's command line") {
  const std::pair<const char*, Words> cases[] = {
      {"", {}},
      {"  a\tb\n", {"a", "b"}},
      {"'a b' \"c \\\" $d\" e\\ f", {"a b", "c \" $d", "e f"}},
      {"a'b'\"c\"", {"abc"}},
      {"''", {""}},
      {"\"\\n\"", {"\\n"}},
      {"$(x) `y` *", {"$(x)", "`y`", "*"}},
  };
  for (const auto& [text, words] : cases) {
    CAPTURE_BINDING(text);
    const auto result = runner::split_shell_words(text);
    REQUIRE(result);
    CHECK(*result == words);
  }
  for (const char* bad : {"'", "\"", "\"\\", "a\\"})
    CHECK_FALSE(runner::split_shell_words(bad));
  CHECK_FALSE(runner::split_shell_words(std::string(1000, ' ') + [] {
    std::string many;
    for (int i = 0; i < 100; ++i)
      many += "a ";
    return many;
  }()));
}

TEST_CASE("the image's entrypoint, when it is asked for") {
  const auto words = [](Words arguments, const Words& entrypoint, const Words& cmd) {
    runner::CommandPlan plan;
    plan.entrypoint_arguments = std::move(arguments);
    const auto used = runner::use_entrypoint(plan, entrypoint, cmd);
    return used ? plan.candidates.front() : Words{used.error().reason};
  };
  CHECK(words({}, {"/init"}, {"serve"}) == Words{"/init", "serve"});
  CHECK(words({"check", "a b"}, {"/init"}, {"serve"}) == Words{"/init", "check", "a b"});
  CHECK(words({}, {}, {"bash"}) == Words{"bash"});
  CHECK(words({"true"}, {}, {"bash"}) == Words{"true"});
  CHECK(words({}, {}, {}) == Words{"command_invalid"});
  CHECK(words({}, {""}, {}) == Words{"command_invalid"});
}
