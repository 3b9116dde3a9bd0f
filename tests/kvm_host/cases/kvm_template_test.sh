#!/usr/bin/env bash
# Templates on real KVM: the first run makes one, the next are restored from it, each a VM of its own with the right clock (WRM-01, 02, 04).
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"
XDG_DATA_HOME=$work/data
mkdir -p "$work/data/cleanroom"
ln -s "$data_home/cleanroom/kernels" "$data_home/cleanroom/images" "$work/data/cleanroom/"
export XDG_DATA_HOME

# shellcheck disable=SC2016
job='cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id /etc/machine-id; date "+clock %s"'
# A VM inside that hangs at boot, as the emulated host's sometimes do, costs its launch time, and the job starts cold: the next makes the template.
for _ in 1 2 3; do
  in_vm 0 --memory 256 -- /bin/true
  [ -z "$(find "$work/data/cleanroom/templates" -name manifest.json -print -quit 2>/dev/null)" ] || break
  sed 's/^/  | /' "$work/out"
done
record 'r["template_made"] is True'
for _ in 1 2 3; do
  in_vm 0 --memory 256 -- /bin/sh -c "$job"
  now=$(date +%s)
  record 'r["accel"] == "kvm" and r["start"] == "template" and r["template_made"] is False'
  guest=$(sed -n 's/^clock \([0-9]*\).*/\1/p' "$work/out")
  took=$(python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); print(int(r["command_ms"] / 1000) + 2)' "$(last_run)/run.json")
  ((now - guest >= -1 && now - guest <= took)) || fail "the guest's clock is $((now - guest)) s behind"
  grep -E '^[0-9a-f-]{32,36}$' "$work/out" >>"$work/identities"
done
[ "$(sort -u "$work/identities" | wc -l)" = 9 ] || fail "two VMs share an identity: $(sort "$work/identities" | uniq -d)"
nothing_left
