# shellcheck shell=bash disable=SC2034 # the tests read what is set here
# A job with the plugin, from git repositories on disk, through the bootstrap of $BOOTSTRAP: `own` (tests/support/bootstrap) or
# the path of a buildkite-agent. The runner in the plugin is a stub that says what it saw; use_real_runner takes this build's.
sandbox="" plugin="" job_env=()

quiet_git() {
  git -c user.name=test -c user.email=test@example.com -c init.defaultBranch=main -c advice.detachedHead=false \
    -c safe.directory='*' "$@" >/dev/null
}

# make_repository DIR [TAG]: everything in DIR, committed.
make_repository() {
  [[ -d $1/.git ]] || quiet_git -C "$1" init -q .
  quiet_git -C "$1" add -A
  quiet_git -C "$1" commit -qm test --allow-empty
  if [[ -n ${2:-} ]]; then quiet_git -C "$1" tag -f "$2"; fi
}

setup_job() {
  source_dir="${CLEANROOM_SOURCE_DIR:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}"
  sandbox=$(mktemp -d /tmp/plugin-e2e.XXXXXX) # short: the agent puts sockets below it
  plugin="$sandbox/cleanroom-buildkite-plugin"
  mkdir -p "$plugin/bin" "$sandbox"/{src,home,builds,hooks,plugins,s,artifacts}
  cp -R "$source_dir/hooks" "$source_dir/lib" "$source_dir/plugin.yml" "$plugin/"
  echo 'int main(void) { return 0; }' >"$sandbox/src/main.c"
  local bootstrap_dir="$source_dir/tests/support/bootstrap"
  bootstrap=("$bootstrap_dir/bootstrap")
  if [[ ${BOOTSTRAP:-own} != own ]]; then
    mkdir "$sandbox/agent"
    ln -s "$BOOTSTRAP" "$sandbox/agent/buildkite-agent"
    bootstrap_dir="$sandbox/agent"
    bootstrap=("$bootstrap_dir/buildkite-agent" bootstrap)
  fi
  job_env=(
    PATH="$bootstrap_dir:/usr/bin:/bin" HOME="$sandbox/home" LANG=C.UTF-8 CI=true BUILDKITE=true
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
    BUILDKITE_JOB_ID=01900000-0000-0000-0000-000000000001 BUILDKITE_AGENT_NAME=tester BUILDKITE_ORGANIZATION_SLUG=o
    BUILDKITE_PIPELINE_SLUG=p BUILDKITE_PIPELINE_PROVIDER=git BUILDKITE_PULL_REQUEST=false
    BUILDKITE_REPO="file://$sandbox/src" BUILDKITE_COMMIT=HEAD BUILDKITE_BRANCH=main BUILDKITE_COMMAND=true
    BUILDKITE_BUILD_PATH="$sandbox/builds" BUILDKITE_HOOKS_PATH="$sandbox/hooks" BUILDKITE_PLUGINS_PATH="$sandbox/plugins"
    BUILDKITE_SOCKETS_PATH="$sandbox/s" BUILDKITE_BIN_PATH="$bootstrap_dir" BUILDKITE_AGENT_NO_JOB_API=true
    BUILDKITE_GIT_COMMIT_VERIFICATION=off BOOTSTRAP_ARTIFACT_DIR="$sandbox/artifacts"
  )
  plugins "{}"
}

teardown_job() {
  rm -rf "$sandbox"
}

# plugins OPTIONS [BEFORE]: the step's plugins as JSON; BEFORE is the entry in front of ours.
plugins() {
  job_env+=(BUILDKITE_PLUGINS="[${2:+$2,}{\"file://$plugin#v1.0.0\":$1}]")
}

# stub_runner SCRIPT: what `cleanroom-run --buildkite` does; the other calls are only noted.
stub_runner() {
  cat >"$plugin/bin/cleanroom-run" <<STUB
#!/bin/bash
printf '%s\n' "\$*" >>"$sandbox/calls"
[[ \$1 == --buildkite ]] || exit 0
$1
STUB
  chmod +x "$plugin/bin/cleanroom-run"
}

# This build's runner. The hooks drop XDG_*, so a wrapper sets them: an operator may do the same.
use_real_runner() {
  [[ -x ${CLEANROOM_BIN_DIR:?}/cleanroom-run ]] || fail "there is no $CLEANROOM_BIN_DIR/cleanroom-run"
  cat >"$plugin/bin/cleanroom-run" <<WRAPPER
#!/bin/bash
export XDG_STATE_HOME="$sandbox/state" XDG_RUNTIME_DIR="$sandbox/runtime"
printf '%s\n' "\$*" >>"$sandbox/calls"
exec "$CLEANROOM_BIN_DIR/cleanroom-run" "\$@"
WRAPPER
  chmod +x "$plugin/bin/cleanroom-run"
}

# run_job [NAME=VALUE ...]: to its end, with its output in $sandbox/log.
run_job() {
  start_job "$@"
  wait "$job_pid" && status=0 || status=$?
  output=$(tr -d '\r' <"$sandbox/log")
}

start_job() {
  [[ -d $plugin/.git ]] || make_repository "$plugin" v1.0.0
  [[ -d $sandbox/src/.git ]] || make_repository "$sandbox/src"
  timeout --foreground -k 5 "${job_limit:-90}" env -i "${job_env[@]}" "$@" "${bootstrap[@]}" >"$sandbox/log" 2>&1 </dev/null 3>&- &
  job_pid=$!
}

# wait_for FILE: until the pipe has a line.
wait_for() {
  local line
  read -r -t 60 line <>"$1" || fail "nothing was written to $1"
}
