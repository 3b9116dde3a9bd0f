#!/usr/bin/env bash
# tests/kvm_host/run itself: what goes in, what comes back, and that nothing stays.
set -euo pipefail
run=$(dirname "$0")/run
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'FAIL: %s\n' "$*" >&2; sed 's/^/  | /' "$work/out" "$work/err" >&2; exit 1; }
mkdir "$work/tmp"
export TMPDIR=$work/tmp

# expect STATUS PATTERN ARGUMENTS...: the exit status, and a line of stderr; output in $work/out and $work/err.
expect() {
  local expected=$1 pattern=$2 status=0
  shift 2
  timeout -k 5 280 "$run" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ $status = "$expected" ] || fail "exit $status, expected $expected: run $*"
  grep -q -- "$pattern" "$work/err" || fail "no line on stderr matches /$pattern/: run $*"
}
nothing_left() {
  local processes
  [ -z "$(ls -A "$work/tmp")" ] || fail "left in TMPDIR: $(ls -A "$work/tmp")"
  processes=$(env -u TMPDIR grep -slz "^TMPDIR=$work/tmp" /proc/[0-9]*/environ || true)
  [ -z "$processes" ] || fail "left running: $processes"
}

# Nothing is booted for these.
expect 2 "there is no '$work/none'" --add "$work/none:/x" -- true
expect 125 'scripts/build release' --bin "$work" -- true
expect 2 'needs a terminal'

# The time limit, in the middle of the boot.
expect 124 'time limit of 12 s' --timeout 12 -- sleep 1000
nothing_left

# QEMU dies with its runner, whatever that dies of; it has written its warnings when it is there.
mkfifo "$work/console"
"$run" --console -- sleep 1000 >"$work/out" 2>"$work/console" </dev/null &
pid=$!
exec {console}<"$work/console"
read -r -t 120 line <&"$console" || fail "no word from QEMU"
vm=$(pgrep -P "$pid" qemu-system) || fail "no QEMU below $pid, which said: $line"
kill -KILL "$pid"
timeout 30 tail --pid="$vm" -f /dev/null || fail "QEMU outlives its runner"
wait "$pid" 2>/dev/null || true
nothing_left

# Arguments, environment, a file, a folder, both outputs byte by byte, results, status. As the user, whose KVM it is.
mkdir "$work/folder"
printf '\0\377\n' >"$work/folder/bytes"
printf '#!/bin/sh\necho "tool: $*"\n' >"$work/tool"
chmod +x "$work/tool"
export FROM_HERE='a b'
# shellcheck disable=SC2016
script='set -e
[ -r /dev/kvm ] && [ -w /dev/kvm ] && echo "kvm for $(id -un)"
tool "$1" "$FROM_HERE" "$GIVEN"
cat /data/bytes >&2
mkdir "$CLEANROOM_RESULTS/deep"
head -c 3000000 /dev/urandom >"$CLEANROOM_RESULTS/deep/big"
sha256sum <"$CLEANROOM_RESULTS/deep/big"
seq 200000 | tail -c 1000000 >"$CLEANROOM_RESULTS/lines"
cat "$CLEANROOM_RESULTS/lines"
sleep 1000 & # nobody waits for it, although it holds the output
exit 42'
expect 42 '' --user --results "$work/results" --add "$work/tool:/usr/local/bin/tool" --add "$work/folder:/data" --env FROM_HERE \
  --env GIVEN=x=y -- sh -c "$script" sh 'one  two'
[ "$(sed -n 1,2p "$work/out")" = $'kvm for dev\ntool: one  two a b x=y' ] || fail "the command's environment"
cmp -s "$work/err" "$work/folder/bytes" || fail "stderr is not what the command wrote there"
[ "$(sed -n 3p "$work/out")" = "$(sha256sum <"$work/results/deep/big")" ] || fail "a result is not what it was"
sed 1,3d "$work/out" | cmp -s - "$work/results/lines" || fail "stdout is not what the command wrote there"
nothing_left
echo "run: status, streams and results come back"
