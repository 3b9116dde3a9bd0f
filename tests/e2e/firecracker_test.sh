#!/usr/bin/env bash
# What is Firecracker's own: what it refuses and how that is told, its logs.
set -- firecracker
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"

# A refusal of its API names the request, Firecracker's words and what to do.
printf 'resources: {vcpus: 64}\n' >"$work/config/ceiling.yaml"
in_vm 125 --vcpus 33 -- true
expect 'Firecracker refuses PUT /machine-config: Machine config error: The number of vCPUs'
expect 'hint: ask for 1 to 32 virtual CPUs'
record 'r["reason"] == "launch_failed" and r["outcome"] == "infrastructure"'
rm "$work/config/ceiling.yaml"
nothing_left

# VMM-10: one with known holes is not started at all.
# shellcheck disable=SC2016  # for the stub
printf '#!/bin/sh\n[ "$1" = --version ] && echo "Firecracker v1.14.3" || echo ran >"%s"\n' "$work/ran" >"$work/old"
chmod 755 "$work/old"
operator_config "binary_path: $work/old"
in_vm 125 -- true
record 'r["reason"] == "vmm_unavailable" and "1.14.3" in r["message"]'
[ ! -e "$work/ran" ] || fail "an old Firecracker was started"
operator_config

# The job's VM is restored from a template, which its first run makes. Its log and its metrics are with the run, each metrics line an
# object. The last flush has 50 ms before the VM is killed, which an emulated host does not always keep.
whole_metrics() {
  python3 - "$(last_run)/firecracker-metrics.jsonl" <<'PY'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines and all("vcpu" in line and "block" in line for line in lines), lines
PY
}
for attempt in 1 2 3; do
  in_vm 0 -- /bin/true
  ! whole_metrics 2>"$work/metrics-error" || break
done
[ "$attempt" != 3 ] || whole_metrics || fail "firecracker-metrics.jsonl: $(cat "$work/metrics-error")"
record 'r["start"] == "template" and r["restore_ms"] > 0'
grep -q 'Put request on "/snapshot/load"' "$(last_run)/firecracker.log" || fail "firecracker.log lacks the requests"
nothing_left
