#!/usr/bin/env bash
# A job on real KVM under Buildkite, where emulation is refused: it is hardware isolation, and the guest knows its hypervisor.
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"
printf 'default_backend: qemu\nallow_emulation: false\n%s\n' "$launch_config" >"$work/config/config.yaml"
printf 'images: {unpinned: true}\n' >"$work/config/ceiling.yaml"

[ "$(id -u)" != 0 ] || fail "this test is for an ordinary user"
# shellcheck disable=SC2016
job='echo "clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
dmesg | grep "Hypervisor detected"
nproc
exit 42'
BUILDKITE=true in_vm 42 --vcpus 2 -- /bin/sh -c "$job"
expect '^clock kvm-clock$'
expect 'Hypervisor detected: KVM'
expect '^2$'
expect 'cleanroom: backend +qemu, accel kvm, 2 vCPU'
refuse 'emulat'
record 'r["accel"] == "kvm" and r["hardware_isolation"] is True and r["backend"] == "qemu"'
record 'r["exit_code"] == 42 and r["job_status"] == 42 and r["outcome"] == "failed" and r["reason"] == "job_failed"'
nothing_left
