#!/usr/bin/env bats
# shellcheck disable=SC2154,SC2016 # plugin_support.bash sets them; text that is not expanded is meant so
# A whole agent, `buildkite-agent start --acquire-job`, against a stand-in for its API: its own env file, its own cancel. Called by
# plugin_real_agent_test.sh with BOOTSTRAP=/path/to/buildkite-agent.
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash
load plugin_support

setup() {
  [[ ${BOOTSTRAP:-own} != own ]] || skip "needs BUILDKITE_AGENT_BIN"
  setup_job
  mkdir "$sandbox/api"
}
teardown() { teardown_job; }

# write_job COMMAND ENV_JSON
write_job() {
  make_repository "$plugin" v1.0.0
  make_repository "$sandbox/src"
  python3 - "$sandbox" "$plugin" "$1" "$2" >"$sandbox/api/job.json" <<'PY'
import json, sys
sandbox, plugin, command, extra = sys.argv[1:]
env = {"BUILDKITE": "true", "CI": "true", "BUILDKITE_REPO": f"file://{sandbox}/src", "BUILDKITE_COMMIT": "HEAD",
       "BUILDKITE_BRANCH": "main", "BUILDKITE_ORGANIZATION_SLUG": "o", "BUILDKITE_PIPELINE_SLUG": "p",
       "BUILDKITE_PIPELINE_PROVIDER": "git", "BUILDKITE_PULL_REQUEST": "false", "BUILDKITE_AGENT_NAME": "tester", "BUILDKITE_COMMAND": command,
       "BUILDKITE_JOB_ID": "01900000-0000-4000-8000-000000000001", "BUILDKITE_COMMIT_RESOLVED": "true",
       "BUILDKITE_PLUGINS": json.dumps([{f"file://{plugin}#v1.0.0": {}}]), **json.loads(extra)}
json.dump({"command": command, "env": env}, sys.stdout)
PY
}

start_agent() {
  "$source_dir/tests/support/fake_agent_api" "$sandbox/api" 3>&- &
  api_pid=$!
  local tries=0
  until [[ -s $sandbox/api/port ]]; do
    ((++tries < 100)) || fail "the API did not start"
    read -r -t 0.1 _ <>"$sandbox/never" || :
  done
  env -i "${job_env[@]:0:8}" timeout --foreground -k 5 60 "$sandbox/agent/buildkite-agent" start --token x \
    --endpoint "http://127.0.0.1:$(<"$sandbox/api/port")" --acquire-job 01900000-0000-4000-8000-000000000001 \
    --name tester --build-path "$sandbox/builds" --hooks-path "$sandbox/hooks" --plugins-path "$sandbox/plugins" \
    --sockets-path "$sandbox/s" --no-color >"$sandbox/agent.log" 2>&1 3>&- &
  agent_pid=$!
}

finish_agent() {
  wait "$agent_pid" || :
  wait "$api_pid" || :
}

reported() {
  python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$sandbox/api/finish.json" "$1"
}

@test "a job from the API: its env file names the step's variables, and its exit status is reported" {
  mkfifo "$sandbox/never"
  stub_runner "cp \"\${BUILDKITE_ENV_JSON_FILE:-\$BUILDKITE_ENV_FILE}\" $sandbox/env-file; exit 42"
  write_job $'echo one\necho two' '{"OF_THE_STEP":"1"}'
  start_agent
  finish_agent
  assert_equal "$(reported exit_status)" 42
  run grep -c OF_THE_STEP "$sandbox/env-file"
  assert_output 1
  assert_equal "$(cat "$sandbox/calls")" $'--buildkite-check\n--buildkite\n--buildkite-sweep'
}

@test "FLT-02 a job cancelled from the API: the runner tears down within the grace period" {
  mkfifo "$sandbox/never" "$sandbox/started"
  stub_runner "trap 'touch $sandbox/torn-down; exit 143' TERM; echo go >$sandbox/started; while :; do read -r -t 1 _ <>$sandbox/never || :; done"
  write_job true '{}'
  start_agent
  wait_for "$sandbox/started"
  touch "$sandbox/api/cancel"
  finish_agent
  assert [ -e "$sandbox/torn-down" ]
  assert_equal "$(tail -n 1 "$sandbox/calls")" "--buildkite-sweep"
}
