#!/usr/bin/env bats
# shellcheck disable=SC2154,SC2016 # plugin_support.bash sets them; text that is not expanded is meant so
# What needs a server behind the real agent, through our bootstrap: artifacts, and the end of the grace period.
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash
load plugin_support

setup() { BOOTSTRAP=own setup_job; }
teardown() { teardown_job; }

@test "artifacts are collected after the command, failed or not; links are not followed" {
  echo secret >"$sandbox/host-secret"
  stub_runner "mkdir -p build/deep; echo report >build/report.txt; echo deep >build/deep/log.txt; ln -s $sandbox/host-secret build/link.txt; exit 5"
  run_job BUILDKITE_ARTIFACT_PATHS='build/**/*.txt; nothing/*'
  assert_equal "$status" 5
  assert_equal "$(cd "$sandbox/artifacts" && find . -type f | sort)" $'./build/deep/log.txt\n./build/report.txt'
  run grep -r secret "$sandbox/artifacts"
  assert_failure
}

@test "after the grace period the runner is killed, and no later hook runs" {
  mkfifo "$sandbox/started" "$sandbox/never"
  stub_runner "trap '' TERM; echo \$\$ >$sandbox/runner; echo go >$sandbox/started; while :; do read -r -t 1 _ <>$sandbox/never || :; done"
  start_job BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS=1
  wait_for "$sandbox/started"
  kill -TERM "$(pgrep -P "$job_pid" -f bootstrap || echo "$job_pid")"
  wait "$job_pid" && status=0 || status=$?
  assert_not_equal "$status" 0
  run kill -0 "$(cat "$sandbox/runner")"
  assert_failure
  run tail -n 1 "$sandbox/calls"
  assert_output -- --buildkite
}

@test "the default command of a step without the plugin is the agent's" {
  for case in 'echo one; false; echo two' $'false\necho two'; do
    run_job BUILDKITE_PLUGINS= BUILDKITE_COMMAND="$case"
    assert_equal "$status" 1
    refute_output --partial two
  done
  printf '#!/bin/bash\necho "script $0"; exit 9\n' >"$sandbox/src/test.sh"
  make_repository "$sandbox/src"
  rm -rf "$sandbox/builds"
  run_job BUILDKITE_PLUGINS= BUILDKITE_COMMAND='test.sh'
  assert_equal "$status" 9
  assert_output --partial "script ./test.sh"
}
