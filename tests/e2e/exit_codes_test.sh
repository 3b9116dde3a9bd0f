#!/usr/bin/env bash
# Each exit code of docs/exit-codes.md, driven for real.
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"

# The job's own, in a VM each.
in_vm 42 -- /bin/sh -c 'exit 42'
record 'r["exit_code"] == 42 and r["job_status"] == 42 and r["outcome"] == "failed" and r["reason"] == "job_failed"'
in_vm 137 -- /bin/sh -c 'kill -9 $$'
record 'r["job_signal"] == 9'
in_vm 254 -- /bin/sh -c 'exit 255'
in_vm 124 --timeout 2s -- sleep 1000
expect 'time limit of 2 s'
record 'r["outcome"] == "time_limit" and r["reason"] == "time_limit"'
in_vm 127 -- /no/such/program
expect 'cannot start the command in the guest: .*/no/such/program'
record 'r["reason"] == "command_not_started" and r["outcome"] == "failed"'
in_vm 126 -- /etc/passwd
nothing_left

# No VM is started for any of these.
usage() {
  local status=0
  timeout 20 "$runner" "$@" >"$work/out" 2>&1 </dev/null || status=$?
  [ $status = 64 ] || fail "exit $status, expected 64: $*"
  expect 'hint: cleanroom-run --help'
}
usage
usage --no-such-option -- true
usage --step test -- true
usage --vcpus zero -- true
usage --backend vmware -- true

printf 'version: 1\nsandbox: {network: {default: allow}}\n' >"$work/checkout/cleanroom.yaml"
in_vm 78 -- true
expect 'cleanroom.yaml:2:[0-9]+: sandbox.network.default'
rm "$work/checkout/cleanroom.yaml"
in_vm 78 -- true
record 'r["reason"] == "policy_missing" and r["outcome"] == "refused"'
policy ""
in_vm 78 --vcpus 64 -- true
record 'r["reason"] == "policy_conflict"'
printf 'version: 1\nsandbox: {network: {default: deny}, services: {docker: {required: true}}}\n' >"$work/checkout/cleanroom.yaml"
printf 'services: {docker: true}\n' >"$work/config/ceiling.yaml"
in_vm 78 -- true
record 'r["reason"] in ("backend_capability_mismatch", "unsupported")'
rm "$work/config/ceiling.yaml"
policy ""

# VMM-12: under Buildkite emulation needs the operator's word. Where KVM works there is nothing to refuse.
printf '{}\n' >"$work/config/config.yaml"
if [ "$(BUILDKITE=true timeout 120 "$runner" --checkout "$work/checkout" --image "$demo_image" --allow-emulation -- true >"$work/out" 2>&1; echo $?)" != 0 ]; then
  record 'r["reason"] in ("emulation_refused", "policy_conflict") and r["exit_code"] == 78'
fi
operator_config # the defaults

demo=$demo_image
demo_image="oci:$work/nothing" in_vm 125 -- true
demo_image="registry.example.com/none@sha256:$(printf 'a%.0s' {1..64})"
in_vm 125 -- true
# No registry has it; whether its name even resolves is the network's business.
record 'r["reason"] in ("image_not_found", "image_pull_failed") and r["outcome"] == "infrastructure"'
demo_image=$demo
operator_config 'kernel_image: /no/such/vmlinuz'
in_vm 125 -- true
record 'r["reason"] == "kernel_unavailable"'
operator_config 'binary_path: /no/such/vmm'
in_vm 125 -- true
record 'r["reason"] == "vmm_unavailable"'
# FLT-15: a kernel that is none. The VM ends, or hangs until its launch limit.
head -c 100000 /dev/zero >"$work/vmlinuz"
operator_config "kernel_image: $work/vmlinuz" 'launch_seconds: 5'
in_vm 125 -- true
record 'r["reason"] in ("launch_failed", "launch_timeout", "kernel_unavailable")'
nothing_left
