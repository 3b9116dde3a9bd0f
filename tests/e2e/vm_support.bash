# What the tests with real VMs share: a private home for runs, the demo image, and checks on what a run leaves behind.
# A test that is given an argument runs on that backend: qemu (the default) or firecracker.
# shellcheck shell=bash
set -euo pipefail

backend=${1:-qemu}
vmm=qemu-system # as pgrep -f finds it
if [ "$backend" = firecracker ]; then
  # shellcheck disable=SC2034  # for who sources this
  vmm=firecracker
  [ -n "${CLEANROOM_FIRECRACKER_BIN:-}" ] || { echo "skip: needs FIRECRACKER_BIN (the path of a Firecracker in CLEANROOM_FIRECRACKER_BIN)"; exit 77; }
  [ -w /dev/kvm ] || { echo "skip: needs /dev/kvm"; exit 77; }
fi

runner="${CLEANROOM_BIN_DIR:?}/cleanroom-run"
data_home=${XDG_DATA_HOME:-$HOME/.local/share}
demo_image="oci:$data_home/cleanroom/layouts/demo"
[ -f "$data_home/cleanroom/layouts/demo/index.json" ] || { echo "FAIL: no demo image: run scripts/make-base-image"; exit 1; }

work=$(mktemp -d)
export XDG_STATE_HOME=$work/state
export CLEANROOM_CONFIG_DIR=$work/config
mkdir -p "$work/config" "$work/checkout"
# The same as a line of config.yaml, for who writes their own.
launch_config=''
if [ -n "${CLEANROOM_TEST_LAUNCH_SECONDS:-}" ]; then
  # shellcheck disable=SC2034
  launch_config="backends: {$backend: {launch_seconds: $CLEANROOM_TEST_LAUNCH_SECONDS}}"
fi
# operator_config [SETTING...]: config.yaml with these settings of the backend under test, `key: value` each.
# A slow host (tests/kvm_host) says how long a VM may take to start; the default is for real ones.
# shellcheck disable=SC2120,SC2119  # without any, too
operator_config() {
  local IFS=, settings=("$@")
  if [ "$backend" = firecracker ] && [[ "$*" != *binary_path:* ]]; then settings+=("binary_path: $CLEANROOM_FIRECRACKER_BIN"); fi
  if [ -n "${CLEANROOM_TEST_LAUNCH_SECONDS:-}" ] && [[ "$*" != *launch_seconds:* ]]; then settings+=("launch_seconds: $CLEANROOM_TEST_LAUNCH_SECONDS"); fi
  printf 'allow_emulation: true\ndefault_backend: %s\nbackends: {%s: {%s}}\n' "$backend" "$backend" "${settings[*]}" >"$work/config/config.yaml"
}
# shellcheck disable=SC2119
operator_config
unset BUILDKITE
failures=0
finish() {
  rm -rf "$work"
  [ $failures = 0 ] || { echo "FAIL: $failures checks"; exit 1; }
}
trap finish EXIT

fail() {
  echo "FAIL: $*"
  [ ! -f "$work/out" ] || sed 's/^/  | /' "$work/out" | tail -n 60
  failures=$((failures + 1))
}

# policy LINE...: the checkout's cleanroom.yaml; the lines are the entries of `allow`.
policy() {
  printf 'version: 1\nsandbox:\n  network:\n    default: deny\n    allow: [%s]\n' "$*" >"$work/checkout/cleanroom.yaml"
}
policy ""

# in_vm CODE COMMAND...: runs it in a VM, for at most $vm_seconds; output in $work/out. $run_options are of every run.
vm_seconds=240
run_options=()
in_vm() {
  local expected=$1 status=0
  shift
  timeout -k 5 "$vm_seconds" "$runner" --checkout "$work/checkout" --image "$demo_image" "${run_options[@]}" "$@" >"$work/out" 2>&1 </dev/null || status=$?
  [ "$status" = "$expected" ] || fail "exit $status, expected $expected: $*"
}
expect() { grep -qE -- "$1" "$work/out" || fail "no line matches /$1/"; }
refuse() { ! grep -qE -- "$1" "$work/out" || fail "a line matches /$1/"; }

last_run() { find "$XDG_STATE_HOME/cleanroom/runs" -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1; }
# record EXPRESSION: a Python expression over `r`, the last run's run.json. record_of FILE EXPRESSION: another one's.
record() { record_of "$(last_run)/run.json" "$1"; }
record_of() { python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); sys.exit(0 if eval(sys.argv[2]) else 1)' "$1" "$2" || fail "run.json: not $2"; }

# start COMMAND...: in the background; waits until the job says `running`. Sets $pid and $vm, and $from, where its output comes.
start() {
  rm -f "$work/stream" && mkfifo "$work/stream"
  "$runner" --checkout "$work/checkout" --image "$demo_image" "${run_options[@]}" -- "$@" >"$work/stream" 2>"$work/out" </dev/null &
  pid=$!
  exec {from}<"$work/stream"
  read -r -t 120 line <&"$from" || line='(nothing)'
  [ "$line" = running ] || fail "the job did not start: $line"
  # shellcheck disable=SC2034
  vm=$(pgrep -P "$pid" -f "$vmm") || fail "no VM below $pid"
}
gone() { # PID SECONDS
  timeout "$2" tail --pid="$1" -f /dev/null || fail "process $1 is still there after $2 s"
}
ended() { # EXPECTED-STATUS-REGEX
  local status=0
  wait "$pid" || status=$?
  [[ $status =~ ^($1)$ ]] || fail "exit $status, expected $1"
  exec {from}<&-
}

nothing_left() {
  local left
  left=$(find "$XDG_STATE_HOME/cleanroom/runs" -name work -type d 2>/dev/null)
  [ -z "$left" ] || fail "left behind: $left"
}
