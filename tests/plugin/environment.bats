#!/usr/bin/env bats
# shellcheck disable=SC2154,SC2016,SC2115 # helper.bash sets them; text that is not expanded is meant so
# hooks/environment: what it exports, what it refuses, and that it leaves nothing else behind.
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash
load helper

setup() { load_plugin; }
teardown() { unload_plugin; }

# What the agent does: source the hook, and compare the environment before and after.
environment_diff() {
  bash -c 'env -0 | sort -z >"$2/before"; . "$1/hooks/environment"; env -0 | sort -z >"$2/after"' _ "$plugin" "$sandbox" ||
    return
  comm -z -13 "$sandbox/before" "$sandbox/after" | tr '\0' '\n' | grep -v '^_='
}

@test "it exports two variables and nothing else" {
  stub_runner
  run environment_diff
  assert_success
  assert_output $'BUILDKITE_ARTIFACT_UPLOAD_SKIP_SYMLINKS=true\nBUILDKITE_NO_LOCAL_HOOKS=true'
}

@test "it removes nothing from the environment" {
  stub_runner
  export XDG_STATE_HOME=/x CLEANROOM_CONFIG_DIR=/y
  run environment_diff
  assert_success
  run comm -z -23 "$sandbox/before" "$sandbox/after"
  refute_output --partial "XDG_STATE_HOME"
  refute_output --partial "CLEANROOM_CONFIG_DIR"
  refute_output --partial "PATH"
}

@test "SUP-04 the operator may let repository hooks run" {
  stub_runner
  echo 'repository_hooks=allow' >"$plugin/plugin.conf"
  run environment_diff
  assert_success
  assert_output 'BUILDKITE_ARTIFACT_UPLOAD_SKIP_SYMLINKS=true'
}

@test "SUP-04 a step cannot let repository hooks run" {
  stub_runner
  export BUILDKITE_NO_LOCAL_HOOKS=false BUILDKITE_PLUGIN_CLEANROOM_REPOSITORY_HOOKS=allow CLEANROOM_REPOSITORY_HOOKS=allow
  run environment_diff
  assert_success
  assert_line 'BUILDKITE_NO_LOCAL_HOOKS=true'
}

@test "it asks the runner whether the step can run, and passes its refusal on" {
  stub_runner 78
  run "$plugin/hooks/environment"
  assert_failure 78
  run cat "$sandbox/calls"
  assert_output '--buildkite-check'
}

@test "without a runner it leaves the error to the command hook" {
  echo 'runner=/nonexistent/cleanroom-run' >"$plugin/plugin.conf"
  run environment_diff
  assert_success
  assert_line 'BUILDKITE_NO_LOCAL_HOOKS=true'
}

@test "a bad line in plugin.conf is one clear error" {
  stub_runner
  printf '# comment\n\nrunner=relative/path\n' >"$plugin/plugin.conf"
  run "$plugin/hooks/environment"
  assert_failure 78
  assert_output --partial "bad line for 'runner'"
  assert [ ! -e "$sandbox/calls" ]
}
