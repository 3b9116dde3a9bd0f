#!/usr/bin/env bats
# shellcheck disable=SC2154,SC2016,SC2115 # helper.bash sets them; text that is not expanded is meant so
# hooks/pre-exit: sweeps, and never fails the job.
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash
load helper

setup() { load_plugin; }
teardown() { unload_plugin; }

@test "it sweeps" {
  stub_runner
  run "$plugin/hooks/pre-exit"
  assert_success
  assert_equal "$(cat "$sandbox/calls")" "--buildkite-sweep"
}

@test "a sweep that fails does not fail the job" {
  stub_runner 125
  run "$plugin/hooks/pre-exit"
  assert_success
}

@test "no runner, a bad configuration, a plugin that is gone: still success" {
  printf 'runner=/nonexistent\n' >"$plugin/plugin.conf"
  run "$plugin/hooks/pre-exit"
  assert_success
  printf 'nonsense\n' >"$plugin/plugin.conf"
  run "$plugin/hooks/pre-exit"
  assert_success
  rm -r "$plugin/lib"
  run "$plugin/hooks/pre-exit"
  assert_success
}

@test "sourced by the agent's wrapper, it leaves the shell and its environment alone" {
  stub_runner
  run bash -c 'before=$(env | grep -v "^_=" | sort); . "$1/hooks/pre-exit"; [[ $before == "$(env | grep -v "^_=" | sort)" ]] && echo same' _ "$plugin"
  assert_success
  assert_output same
}
