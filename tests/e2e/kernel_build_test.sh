#!/usr/bin/env bash
# The trimmed kernel: it is not built twice, and a job that runs on it finds what CI jobs and container engines need.
# The kernel is the one of this tree's fragment, built where nobody has: some ten minutes of two processors, so ctest does not have this test:
#   CLEANROOM_BIN_DIR=build/release/bin CLEANROOM_SOURCE_DIR=. tests/e2e/kernel_build_test.sh
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"

# A second build only looks.
tool=$CLEANROOM_BIN_DIR/cleanroom
timeout -k 10 5400 "$tool" kernel build --keep-current 2>"$work/out" >"$work/name" || { fail "the build"; exit; }
kernel=$(cat "$work/name")
timeout -k 10 120 "$tool" kernel build --keep-current 2>"$work/out" >"$work/name" || fail "the second build"
expect "kernel '$kernel' is there already"
[ "$(cat "$work/name")" = "$kernel" ] || fail "the second build names another kernel"
folder=$data_home/cleanroom/kernels/$kernel

# `use` and `ls`, in a store of our own.
mkdir -p "$work/data/cleanroom/kernels"
cp -R "$folder" "$work/data/cleanroom/kernels/"
XDG_DATA_HOME=$work/data "$tool" kernel use "$kernel" 2>"$work/out" || fail "kernel use"
XDG_DATA_HOME=$work/data "$tool" kernel ls --json >"$work/ls" || fail "kernel ls"
python3 - "$work/ls" "$kernel" <<'PY' || fail "kernel ls --json"
import json, sys
[row] = json.load(open(sys.argv[1]))
assert (row["name"], row["origin"], row["current"]) == (sys.argv[2], "built", True), row
assert row["manifest"]["features"] == {"mmio_cmdline": True, "pvh": True, "modules": False}, row
PY
status=0
XDG_DATA_HOME=$work/data "$tool" kernel use none >"$work/out" 2>&1 || status=$?
[ $status = 125 ] || fail "an unknown kernel: exit $status"
expect '^reason: kernel_unavailable$'
expect "^hint: one of: $kernel\$"

# From here on jobs run on it.
printf 'allow_emulation: true\nbackends:\n  qemu:\n    kernel_image: %s/vmlinux\n    launch_seconds: %s\n' "$folder" \
  "${CLEANROOM_TEST_LAUNCH_SECONDS:-60}" >"$work/config/config.yaml"
cc -static -O1 -o "$work/checkout/probe" "$CLEANROOM_SOURCE_DIR/tests/e2e/kernel_probe.c"
in_vm 0 -- /bin/sh -c 'uname -rv; exec /workspace/probe'
sed 's/^/  /' "$work/out"
expect '^6\.1\..*-cleanroom #1 '
expect '^ok: nf_tables'
refuse 'MISSING'
record 'r["kernel_version"] == "'"$kernel"'"'

# The network works without the BPF compiler: the agent's sk_lookup program is interpreted.
# (What is behind the gateway is tested elsewhere; here a refusal must reach the client.)
in_vm 0 -- /bin/sh -c 'curl -sS -m 60 https://refused.example/ 2>&1; true'
record 'any(n["host"] == "refused.example" and n["denied"] > 0 for n in r["network"])'
nothing_left
