#!/usr/bin/env bats
# shellcheck disable=SC2154,SC2016 # plugin_support.bash sets them; text that is not expanded is meant so
# A job with the plugin through a bootstrap: ours, or with BOOTSTRAP=/path/to/buildkite-agent the real one
# (plugin_real_agent_test.sh). Both have to pass the same cases.
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash
load plugin_support

setup() { setup_job; }
teardown() { teardown_job; }

@test "the three hooks run in order, and the runner's exit status is the job's" {
  stub_runner 'echo "in $PWD"; exit 42'
  run_job
  assert_equal "$status" 42
  assert_output --partial "in $sandbox/builds/tester/o/p"
  assert_equal "$(cat "$sandbox/calls")" $'--buildkite-check\n--buildkite\n--buildkite-sweep'
}

@test "SUP-03 the command and the options arrive byte for byte" {
  stub_runner "printf '%s' \"\$BUILDKITE_COMMAND\" >$sandbox/command; printf '%s' \"\$BUILDKITE_PLUGIN_CONFIGURATION\" >$sandbox/options"
  command=$'echo "a  b" $(touch '"$sandbox"$'/pwned) `id` * \\ \'\n\n-n $HOME\n\texit 3\n'
  plugins '{"environment":["A=$(id) `id`\n* -x","B"]}'
  run_job BUILDKITE_COMMAND="$command"
  assert_equal "$status" 0
  printf '%s' "$command" | cmp - "$sandbox/command"
  run python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["environment"][0] == "A=$(id) `id`\n* -x")' "$sandbox/options"
  assert_output True
  assert [ ! -e "$sandbox/pwned" ]
}

@test "SUP-01 variables of the step do not choose the runner or its files" {
  stub_runner "env >$sandbox/env"
  run_job CLEANROOM_CONFIG_DIR=/evil XDG_CONFIG_HOME=/evil BUILDKITE_PLUGIN_CLEANROOM_IMAGE=/evil CLEANROOM_RUN_BIN=/evil
  assert_equal "$status" 0
  run grep -E '^(CLEANROOM_|XDG_)' "$sandbox/env"
  assert_failure
  run grep '^HOME=' "$sandbox/env"
  refute_output "HOME=$sandbox/home"
}

@test "SUP-04 hooks of the repository do not run on the host" {
  stub_runner 'exit 0'
  mkdir -p "$sandbox/src/.buildkite/hooks"
  for hook in post-checkout pre-command post-command pre-exit; do
    printf '#!/bin/bash\ntouch %q\n' "$sandbox/pwned" >"$sandbox/src/.buildkite/hooks/$hook"
    chmod +x "$sandbox/src/.buildkite/hooks/$hook"
  done
  run_job
  assert_not_equal "$status" 0
  assert_output --partial "local hooks are disabled"
  assert [ ! -e "$sandbox/pwned" ]
}

@test "SUP-04 a hook that appears in the checkout during the job does not run on the host" {
  stub_runner "mkdir -p .buildkite/hooks; printf '#!/bin/bash\ntouch $sandbox/pwned\n' >.buildkite/hooks/pre-exit; chmod +x .buildkite/hooks/pre-exit"
  run_job
  assert_not_equal "$status" 0
  assert [ ! -e "$sandbox/pwned" ]
}

@test "the runner has the job's terminal, and none without BUILDKITE_PTY" {
  stub_runner '[[ -t 0 && -t 1 ]] && echo "on a terminal" || echo "on pipes"'
  run_job
  assert_output --partial "on a terminal"
  run_job BUILDKITE_PTY=false
  assert_output --partial "on pipes"
}

@test "FLT-02 cancel: the runner gets SIGTERM, tears down, and pre-exit still runs" {
  mkfifo "$sandbox/started"
  stub_runner "trap 'echo tearing down; touch $sandbox/torn-down; exit 143' TERM; echo go >$sandbox/started; while :; do read -r -t 1 _ <>$sandbox/never || :; done"
  mkfifo "$sandbox/never"
  for pty in true false; do
    rm -f "$sandbox/torn-down" "$sandbox/calls"
    start_job BUILDKITE_PTY=$pty
    wait_for "$sandbox/started"
    kill -TERM "$(pgrep -P "$job_pid" -f bootstrap || echo "$job_pid")"
    wait "$job_pid" && status=0 || status=$?
    assert_not_equal "$status" 0
    assert [ -e "$sandbox/torn-down" ]
    assert_equal "$(tail -n 1 "$sandbox/calls")" "--buildkite-sweep"
  done
}

@test "the real runner refuses an option that does not exist, before the checkout" {
  use_real_runner
  plugins '{"imgae":"x"}'
  run_job
  assert_not_equal "$status" 0
  assert_output --partial "'imgae': there is no such option"
  assert [ ! -e "$sandbox/builds/tester/o/p/main.c" ]
}

@test "the real runner names the option that is null" {
  use_real_runner
  plugins '{"image":null}'
  run_job
  assert_not_equal "$status" 0
  assert_output --partial "'image': it is null"
}

@test "SUP-06 the real runner refuses a credential, and does not print it" {
  use_real_runner
  plugins '{"environment":["DEPLOY_TOKEN"]}'
  run_job DEPLOY_TOKEN=hunter2-hunter2
  assert_not_equal "$status" 0
  assert_output --partial "'DEPLOY_TOKEN'"
  refute_output --partial hunter2
}

@test "SUP-04 the real runner refuses a step whose other plugin would run the command on the host" {
  use_real_runner
  mkdir -p "$sandbox/other-buildkite-plugin/hooks"
  printf '#!/bin/bash\ntouch %q\n' "$sandbox/pwned" >"$sandbox/other-buildkite-plugin/hooks/command"
  chmod +x "$sandbox/other-buildkite-plugin/hooks/command"
  make_repository "$sandbox/other-buildkite-plugin" v1
  plugins '{}' "{\"file://$sandbox/other-buildkite-plugin#v1\":{}}"
  run_job
  assert_not_equal "$status" 0
  assert_output --partial "'other' would run its command on the host"
  assert [ ! -e "$sandbox/pwned" ]
}
