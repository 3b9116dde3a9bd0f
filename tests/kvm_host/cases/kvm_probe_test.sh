#!/usr/bin/env bash
# src/backends/accelerator: what Cleanroom says of KVM where it works, and where a VMM cannot use it.
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"
export XDG_CACHE_HOME=$work/cache
printf 'images: {unpinned: true}\n' >"$work/config/ceiling.yaml"

# A QEMU that does everything but KVM, as on a host whose nested virtualisation is broken. Under Buildkite nothing is started then.
cat >"$work/qemu" <<'EOS'
#!/bin/sh
case " $* " in *" -accel kvm "*) echo "ioctl(KVM_CREATE_VM) failed: broken" >&2; exit 1 ;; esac
exec qemu-system-x86_64 "$@"
EOS
chmod +x "$work/qemu"
printf 'default_backend: qemu\nbackends: {qemu: {binary_path: %s}}\n' "$work/qemu" >"$work/config/config.yaml"
BUILDKITE=true in_vm 78 -- true
expect 'KVM_CREATE_VM\) failed: broken'
record 'r["reason"] == "emulation_refused" and not r["hardware_isolation"]'
[ -z "$(find "$XDG_CACHE_HOME" -name 'kvm-*')" ] || fail "a failed probe was kept"

# The real one: the probe works, and is kept for this boot and this user.
printf 'default_backend: qemu\nallow_emulation: false\n%s\n' "$launch_config" >"$work/config/config.yaml"
demo_image="oci:$work/nothing" BUILDKITE=true in_vm 125 -- true
kept=$(find "$XDG_CACHE_HOME" -name "kvm-$(cat /proc/sys/kernel/random/boot_id)-*")
[ "$(cat "$kept")" = works ] || fail "no kept probe in $(find "$XDG_CACHE_HOME")"
