#include "src/base/os/process.h"

#include <doctest/doctest.h>
#include <signal.h>

using namespace cleanroom::base;
using namespace std::chrono_literals;

TEST_SUITE("base/process") {
  TEST_CASE("a child gets exactly the arguments, environment and descriptors it was given") {
    SpawnOptions options{
        .argv = {"/bin/sh", "-c", "printf '%s|' \"$1\"; /usr/bin/env; ls /proc/self/fd", "sh", "a b'$(x)"},
        .environment = {"ONLY=this"}};
    const auto completed = run_process(options, deadline_in(10s));
    REQUIRE(completed.has_value());
    CHECK(completed->status.success());
    CHECK(completed->output.starts_with("a b'$(x)|"));
    CHECK(completed->output.find("ONLY=this") != std::string::npos);
    CHECK(completed->output.find("HOME=") == std::string::npos);
    // 0, 1, 2 and the descriptor ls itself uses.
    CHECK(completed->output.ends_with("0\n1\n2\n3\n"));
  }

  TEST_CASE("exit status and signal are told apart") {
    const auto exited = run_process({.argv = {"/bin/sh", "-c", "exit 42"}}, deadline_in(10s));
    REQUIRE(exited.has_value());
    CHECK(exited->status.code == 42);
    const auto killed = run_process({.argv = {"/bin/sh", "-c", "kill -TERM $$"}}, deadline_in(10s));
    REQUIRE(killed.has_value());
    CHECK(killed->status.signal == SIGTERM);
    CHECK(to_string(killed->status).starts_with("signal 15"));
  }

  TEST_CASE("a program that is not there is an error that names it") {
    const auto process = Process::spawn({.argv = {"/no/such/program"}});
    REQUIRE_FALSE(process.has_value());
    CHECK(process.error().code == Code::not_found);
    CHECK(process.error().message.find("/no/such/program") != std::string::npos);
  }

  TEST_CASE("a run past its deadline is killed with its whole group") {
    const auto run = run_process({.argv = {"/bin/sh", "-c", "sleep 1000 & wait"}}, deadline_in(200ms));
    REQUIRE_FALSE(run.has_value());
    CHECK(run.error().code == Code::timeout);
  }

  TEST_CASE("the owner's end is the child's end") {
    pid_t pid = -1;
    {
      auto process = Process::spawn({.argv = {"/bin/sleep", "1000"}});
      REQUIRE(process.has_value());
      pid = process->pid();
      CHECK(::kill(pid, 0) == 0);
    }
    CHECK(::kill(pid, 0) != 0);
  }
}
