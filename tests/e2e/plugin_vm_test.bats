#!/usr/bin/env bats
# shellcheck disable=SC2154,SC2016 # plugin_support.bash sets them; text that is not expanded is meant so
# A step with the plugin, all the way: agent phases, the hooks, cleanroom-run, a VM. Through our bootstrap, or with
# BOOTSTRAP=/path/to/buildkite-agent through the real one (plugin_real_agent_test.sh). Host side set up as docs/buildkite.md tells operators.
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash
load plugin_support
bats_require_minimum_version 1.8.0

# The image store is the test's own, and filled once; the kernels are this machine's.
setup_file() {
  local mine=${XDG_DATA_HOME:-$HOME/.local/share}/cleanroom
  export vm_data="$BATS_FILE_TMPDIR/data" vm_cache="$BATS_FILE_TMPDIR/cache" image_digest
  [[ -f $mine/layouts/demo/index.json ]] || fail "no demo image: run scripts/make-base-image"
  mkdir -p "$vm_data/cleanroom"
  ln -s "$mine/kernels" "$vm_data/cleanroom/kernels"
  image_digest=$(XDG_DATA_HOME="$vm_data" "${CLEANROOM_BIN_DIR:?}/cleanroom" image import --json "oci:$mine/layouts/demo" |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["digest"])')
}

setup() {
  setup_job
  job_limit=180
  mkdir "$sandbox/config"
  echo 'allow_emulation: true' >"$sandbox/config/config.yaml"
  mkfifo "$sandbox/never"
  printf 'runner=%s\n' "$sandbox/runner" >"$plugin/plugin.conf"
  rmdir "${plugin:?}/bin"
  cat >"$sandbox/runner" <<WRAPPER
#!/bin/bash
export XDG_DATA_HOME="$vm_data" XDG_CACHE_HOME="$vm_cache" XDG_STATE_HOME="$sandbox/state" CLEANROOM_CONFIG_DIR="$sandbox/config"
[[ \$1 != --buildkite ]] || echo \$\$ >"$sandbox/runner.pid"
printf '%s\n' "\$*" >>"$sandbox/calls"
exec "$CLEANROOM_BIN_DIR/cleanroom-run" "\$@"
WRAPPER
  chmod +x "$sandbox/runner"
  write_source
}

teardown() {
  [[ -z ${BATS_ERROR_STATUS:-} || ! -f $sandbox/log ]] || tail -c 6000 "$sandbox/log" | sed 's/^/# /' >&3
  teardown_job
}

# The repository: a program, its Makefile, a script that is not executable, and the policy.
write_source() {
  cat >"$sandbox/src/main.c" <<'C'
#include <stdio.h>
int main(void) { return puts("hello from C") < 0; }
C
  printf 'build/hello: main.c\n\tmkdir -p build\n\t$(CC) -o $@ main.c\n' >"$sandbox/src/Makefile"
  printf '#!/bin/bash\necho "script $0 $((6 * 7)) in $PWD"\nexit 9\n' >"$sandbox/src/ci.sh"
  cat >"$sandbox/src/cleanroom.yaml" <<POLICY
version: 1
project: {name: plugin-vm}
sandbox:
  image: {ref: "cleanroom.invalid/demo@$image_digest"}
  resources: {vcpus: 1, memory_mib: 512, disk_mib: 1024}
  network: {default: deny}
POLICY
}

# record EXPRESSION: over `r`, the record of the only run.
record() {
  python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); sys.exit(0 if eval(sys.argv[2]) else f"run.json: not {sys.argv[2]}: {r}")' \
    "$sandbox"/state/cleanroom/runs/*/run.json "$1"
}

nothing_left() {
  run find "$sandbox/state/cleanroom/runs" -name work -type d
  assert_output ""
  run pgrep -f "qemu-system.*$sandbox"
  assert_failure
  assert_equal "$(tail -n 1 "$sandbox/calls")" "--buildkite-sweep"
}

logged() { tr -d '\r' <"$sandbox/log" | grep -qaE -- "$1"; }

until_logged() {
  local tries=0
  until logged "$1"; do
    ((++tries < 1200)) || fail "the log has no /$1/"
    kill -0 "$job_pid" 2>/dev/null || fail "the job ended early"
    read -r -t 0.1 _ <>"$sandbox/never" || :
  done
}

# long_command BYTES FIRST-LINE [plain]: after that line comes one word in quotes that a shell, a log or a wire format could trip over:
# every byte that an environment can hold. `plain` is text without `$`, which a pipeline file interpolates, and needs no escapes there.
long_command() {
  python3 - "$@" <<'PY'
import random, string, sys
size, first, plain = int(sys.argv[1]), sys.argv[2].encode(), len(sys.argv) > 3
head = first + (b"\n: '`exit 4` * -n " if plain else b"\n: '$(exit 3) `exit 4` * \\\n\n -n ")
letters = (string.ascii_letters + string.digits + " `*;&|<>()!#").encode() if plain else bytes(set(range(1, 256)) - set(b"'"))
sys.stdout.buffer.write(head + bytes(random.Random(7).choices(letters, k=size - len(head) - 1)) + b"'")
PY
}

# The real agent does not end this job where it has no server.
# bats test_tags=own
@test "AGR-04 SUP-04 WSP-05 a failing job: -e, exit status, artifacts; no credential goes in, no hook comes out" {
  # Before the upload, what the agent would see.
  printf '#!/bin/bash\ncp -R build %q\ncp .git/config %q\n' "$sandbox/seen" "$sandbox/git-config" >"$sandbox/hooks/pre-artifact"
  chmod +x "$sandbox/hooks/pre-artifact"
  run_job BUILDKITE_AGENT_ACCESS_TOKEN=canary-of-the-agent BUILDKITE_ARTIFACT_PATHS='build/*;.buildkite/**;.git/config' \
    FROM_THE_STEP=1 BUILDKITE_COMMAND="
echo \"in \$PWD: \$(ls /sys/class/net)\"
make -s build/hello && ./build/hello | tee build/report.txt
{ env; cat /proc/[0-9]*/environ /proc/cmdline; } 2>/dev/null | tr '\\0' '\\n' >build/environment.txt
mkdir -p .buildkite/hooks
printf '#!/bin/bash\\ntouch $sandbox/pwned\\n' | tee .buildkite/hooks/pre-exit >.buildkite/hooks/post-command
chmod +x .buildkite/hooks/*
echo '[core] fsmonitor = touch $sandbox/pwned' >.git/config
(exit 42)
echo \"not \$((1)) reached\""
  assert_equal "$status" 42
  logged '^in /workspace: lo$'
  logged '^hello from C$'
  run ! logged '^not 1 reached'
  assert_equal "$(cat "$sandbox/seen/report.txt")" "hello from C"
  [[ ${BOOTSTRAP:-own} != own ]] || cmp "$sandbox/seen/report.txt" "$sandbox/artifacts/build/report.txt"
  grep -q '^BUILDKITE_JOB_ID=' "$sandbox/seen/environment.txt"
  run grep -E 'canary|ACCESS_TOKEN|BUILDKITE_PLUGIN' "$sandbox/seen/environment.txt" "$sandbox/log"
  assert_output ""
  run grep fsmonitor "$sandbox/git-config"
  assert_failure
  assert [ ! -e "$sandbox/builds/tester/o/p/.buildkite/hooks" ]
  assert [ ! -e "$sandbox/pwned" ]
  record 'r["outcome"] == "failed" and r["exit_code"] == 42 and r["job_status"] == 42 and r["output_files"] == 3'
  nothing_left
  assert_equal "$(head -n 2 "$sandbox/calls")" $'--buildkite-check\n--buildkite'
}

@test "a command that names a file of the checkout runs it, executable or not" {
  run_job BUILDKITE_COMMAND=ci.sh
  assert_equal "$status" 9
  logged '^script \./ci\.sh 42 in /workspace$'
  assert [ ! -x "$sandbox/src/ci.sh" ]
  nothing_left
}

@test "SUP-03 the longest command that an environment can hold arrives byte for byte" {
  long_command $((128 * 1024 - 1 - 18)) 'printf %s "$BASH_EXECUTION_STRING" | sha256sum' >"$sandbox/command"
  run_job BUILDKITE_COMMAND="$(cat "$sandbox/command")"
  assert_equal "$status" 0
  logged "^$(sha256sum <"$sandbox/command")\$"
  nothing_left
}

# No Linux passes 1 MB in one variable; from a pipeline file it is a command like any other.
# bats test_tags=own
@test "SUP-03 a command of 1 MB in a pipeline file arrives byte for byte" {
  long_command 1000000 'sha256sum <"$0"' plain >"$sandbox/command"
  mkdir "$sandbox/src/.buildkite"
  python3 -c 'import json,sys; print(json.dumps({"steps": [{"key": "big", "command": sys.stdin.read().replace("$", "$$")}]}))' \
    <"$sandbox/command" >"$sandbox/src/.buildkite/pipeline.yml"
  cd "$sandbox/src"
  # No bats `run`: it would take the output through a variable.
  timeout -k 5 "$job_limit" "$sandbox/runner" --step big >"$sandbox/log" 2>&1 </dev/null 3>&- || fail "exit $?"
  logged "^$(sha256sum <"$sandbox/command")\$"
}

@test "FLT-02 cancel: the job's processes get SIGTERM, and the machine is gone within the grace period" {
  start_job BUILDKITE_COMMAND='
(trap "echo child-\$((1)); exit 0" TERM; while :; do sleep 1; done) &
trap "echo parent-\$((1)); wait; exit 7" TERM
echo up-$((1))
while :; do sleep 1; done'
  until_logged '^up-1$'
  vm=$(pgrep -P "$(cat "$sandbox/runner.pid")" -f qemu-system)
  began=$SECONDS
  kill -TERM "$(pgrep -P "$job_pid" -f bootstrap || echo "$job_pid")"
  wait "$job_pid" && status=0 || status=$?
  ((SECONDS - began <= 9)) || fail "it took $((SECONDS - began)) s"
  assert_not_equal "$status" 0
  logged '^child-1$'
  logged '^parent-1$'
  run kill -0 "$vm"
  assert_failure
  record 'r["outcome"] == "cancelled" and r["exit_code"] == 7'
  nothing_left
}

@test "without hardware virtualisation the step is refused, unless the operator allows emulation" {
  echo 'allow_emulation: false' >"$sandbox/config/config.yaml"
  run_job BUILDKITE_COMMAND='echo ran-$((1))'
  if [[ $status == 0 ]]; then
    logged '^ran-1$'
    record 'r["accel"] == "kvm" and r["hardware_isolation"]'
  else
    assert_equal "$status" 78
    logged 'cannot run without hardware virtualisation'
    run ! logged '^ran-1$'
    record 'r["reason"] == "emulation_refused"'
  fi
  nothing_left
}
