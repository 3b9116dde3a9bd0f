#!/usr/bin/env bats
# shellcheck disable=SC2154,SC2016,SC2115 # helper.bash sets them; text that is not expanded is meant so
# hooks/command: which program it runs, with which environment, and how it ends.
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash
load helper

setup() { load_plugin; }
teardown() { unload_plugin; }

@test "it becomes the runner: same process, its exit status" {
  stub_runner 42
  bash -c 'echo $$ >"$2/shell"; . "$1/hooks/command"' _ "$plugin" "$sandbox" && status=0 || status=$?
  assert_equal "$status" 42
  assert_equal "$(cat "$sandbox/pid")" "$(cat "$sandbox/shell")"
  assert_equal "$(cat "$sandbox/calls")" "--buildkite"
}

@test "SUP-03 every byte of the command and the options reaches the runner" {
  stub_runner
  nasty=$'-n first\nsecond $(touch '"$sandbox"$'/pwned) `touch '"$sandbox"$'/pwned` ${IFS} * ? [a] ~ \\ \' " \t\r;|&<>\x01\xff end\n\n'
  export BUILDKITE_COMMAND="$nasty"
  export BUILDKITE_PLUGIN_CONFIGURATION="{\"environment\":[\"A=\$(touch $sandbox/pwned)\",\"B=\`x\`\\n* -\"]}"
  run "$plugin/hooks/command"
  assert_success
  runner_env BUILDKITE_COMMAND >"$sandbox/got"
  printf '%s' "$nasty" | cmp - "$sandbox/got"
  runner_env BUILDKITE_PLUGIN_CONFIGURATION >"$sandbox/got"
  printf '%s' "$BUILDKITE_PLUGIN_CONFIGURATION" | cmp - "$sandbox/got"
  assert [ ! -e "$sandbox/pwned" ]
}

@test "SUP-03 the longest command that a process can be given (128 KiB) arrives whole" {
  stub_runner
  BUILDKITE_COMMAND=$(head -c $((131072 - 20)) /dev/zero | tr '\0' x)
  export BUILDKITE_COMMAND
  "$plugin/hooks/command"
  runner_env BUILDKITE_COMMAND >"$sandbox/got"
  printf '%s' "$BUILDKITE_COMMAND" | cmp - "$sandbox/got"
}

@test "SUP-01 a step's environment chooses no runner" {
  stub_runner
  mkdir "$sandbox/evil"
  printf '#!/bin/bash\ntouch %q\n' "$sandbox/pwned" >"$sandbox/evil/cleanroom-run"
  chmod +x "$sandbox/evil/cleanroom-run"
  cp "$sandbox/evil/cleanroom-run" "$sandbox/checkout/"
  for tool in dirname cat env bash; do cp "$sandbox/evil/cleanroom-run" "$sandbox/evil/$tool"; done
  cd "$sandbox/checkout"
  PATH="$sandbox/evil:$PATH" CLEANROOM_RUN_BIN="$sandbox/evil/cleanroom-run" \
    BUILDKITE_PLUGIN_CLEANROOM_RUNNER="$sandbox/evil/cleanroom-run" cleanroom_runner="$sandbox/evil/cleanroom-run" \
    run /bin/bash "$plugin/hooks/command"
  assert_success
  assert_equal "$(cat "$sandbox/calls")" "--buildkite"
  assert [ ! -e "$sandbox/pwned" ]
}

@test "SUP-01 a step's environment chooses no file of the host" {
  stub_runner
  export CLEANROOM_CONFIG_DIR=/evil CLEANROOM_ANYTHING=1 XDG_CONFIG_HOME=/evil XDG_DATA_HOME=/evil XDG_STATE_HOME=/evil
  export HOME=/evil TMPDIR="$sandbox" PATH="/evil:$PATH" GLIBC_TUNABLES=x=y HOSTALIASES=/evil
  run "$plugin/hooks/command"
  assert_success
  for name in CLEANROOM_CONFIG_DIR CLEANROOM_ANYTHING XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME GLIBC_TUNABLES \
    HOSTALIASES TMPDIR; do
    run runner_env "$name"
    assert_failure
  done
  assert_equal "$(runner_env HOME)" "$(getent passwd "$(id -u)" | cut -d: -f6)"
  assert_equal "$(runner_env PATH)" "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

@test "SUP-01 the operator names a runner in plugin.conf" {
  stub_runner
  mv "$plugin/bin" "$sandbox/elsewhere"
  printf 'runner=%s\n' "$sandbox/elsewhere/cleanroom-run" >"$plugin/plugin.conf"
  run "$plugin/hooks/command"
  assert_success
  assert_equal "$(cat "$sandbox/calls")" "--buildkite"
}

@test "a runner that is not there is an error of the infrastructure" {
  printf 'runner=/nonexistent/cleanroom-run\n' >"$plugin/plugin.conf"
  run "$plugin/hooks/command"
  assert_failure 125
  assert_output --partial "cannot find cleanroom-run"
}

@test "SUP-04 repository hooks that would run on the host are refused" {
  stub_runner
  mkdir -p "$sandbox/checkout/.buildkite/hooks"
  touch "$sandbox/checkout/.buildkite/hooks/pre-exit"
  run "$plugin/hooks/command"
  assert_failure 78
  assert_output --partial "would run on the host"
  assert [ ! -e "$sandbox/calls" ]
}

@test "SUP-04 a dangling link is a hook too" {
  stub_runner
  mkdir -p "$sandbox/checkout/.buildkite/hooks"
  ln -s made-by-the-job "$sandbox/checkout/.buildkite/hooks/post-command"
  run "$plugin/hooks/command"
  assert_failure 78
}

@test "SUP-04 they do not matter where the agent refuses to run them, or the operator allows them" {
  stub_runner
  mkdir -p "$sandbox/checkout/.buildkite/hooks"
  touch "$sandbox/checkout/.buildkite/hooks/pre-exit"
  BUILDKITE_NO_LOCAL_HOOKS=true run "$plugin/hooks/command"
  assert_success
  echo 'repository_hooks=allow' >"$plugin/plugin.conf"
  run "$plugin/hooks/command"
  assert_success
}

@test "FLT-02 signals that the shell ignores are none of its doing: TERM reaches the runner" {
  mkdir -p "$plugin/bin"
  cat >"$plugin/bin/cleanroom-run" <<STUB
#!/bin/bash
trap 'exit 43' TERM
echo ready >"$sandbox/ready"
read -r _ <"$sandbox/never"
STUB
  chmod +x "$plugin/bin/cleanroom-run"
  mkfifo "$sandbox/ready" "$sandbox/never"
  "$plugin/hooks/command" 3>&- &
  pid=$!
  read -r _ <"$sandbox/ready"
  kill -TERM "$pid"
  wait "$pid" && status=0 || status=$?
  assert_equal "$status" 43
}
