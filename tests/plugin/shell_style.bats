#!/usr/bin/env bats
# shellcheck disable=SC2154,SC2016,SC2115 # helper.bash sets them; text that is not expanded is meant so
# The shell of the plugin itself.
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash
load helper

setup() { load_plugin; }
teardown() { unload_plugin; }

@test "SUP-03 shellcheck finds nothing" {
  cd "$source_dir"
  run shellcheck -x hooks/environment hooks/command hooks/pre-exit lib/runner.bash
  assert_success
}

@test "hooks are thin, executable, and evaluate nothing" {
  for hook in environment command pre-exit; do
    assert [ -x "$source_dir/hooks/$hook" ]
    assert [ "$(wc -l <"$source_dir/hooks/$hook")" -le 60 ]
  done
  run grep -nwE 'eval|system' "$source_dir"/hooks/{environment,command,pre-exit} "$source_dir"/lib/*.bash
  assert_failure
}

@test "hooks/command ends in exec" {
  run tail -n 1 "$source_dir/hooks/command"
  assert_output 'exec "$cleanroom_runner" --buildkite'
}
