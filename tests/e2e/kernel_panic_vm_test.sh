#!/usr/bin/env bash
# FLT-15: a guest kernel that panics before any of the job is there. It is started once more, and not twice.
# The kernel is the prepared one, unpacked, with another name where it looks for its first program: it finds none, and panics.
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"

# A kernel's folder has its modules beside it.
cp -RL "$data_home/cleanroom/kernels/current" "$work/kernel"
mv "$work/kernel/vmlinuz" "$work/good"
# The boot protocol (Documentation/x86/boot.rst): setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c.
if ! python3 - "$work/good" "$work/kernel/vmlinuz" <<'PYTHON'
import ctypes, struct, sys
image = open(sys.argv[1], "rb").read()
begin = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
payload = image[begin:begin + struct.unpack_from("<I", image, 0x24C)[0] - 4]
assert payload[:4] == b"\x02\x21\x4c\x18", "not LZ4's legacy frames, as Debian's kernel"
lz4, room = ctypes.CDLL("liblz4.so.1"), ctypes.create_string_buffer(8 << 20)
kernel, at = b"", 4
while at < len(payload):
    size = struct.unpack_from("<I", payload, at)[0]
    unpacked = lz4.LZ4_decompress_safe(payload[at + 4:at + 4 + size], room, size, len(room))
    assert unpacked > 0
    kernel, at = kernel + room.raw[:unpacked], at + 4 + size
assert kernel.startswith(b"\x7fELF") and b"/init\0" in kernel
open(sys.argv[2], "wb").write(kernel.replace(b"/init\0", b"/none\0"))
PYTHON
then
  fail "cannot take a kernel out of the prepared one"
  exit
fi
templates() { printf 'templates: {enable: %s}\n' "$1" >>"$work/config/config.yaml"; }
panic='the guest.s kernel failed before the job began, starting it once more: Kernel panic - not syncing'

# Twice a panic is a failure of the machine, with what its console said last.
operator_config "kernel_image: $work/kernel/vmlinuz"
templates false
in_vm 125 -- true
expect "$panic"
[ "$(grep -cE "$panic" "$work/out")" = 1 ] || fail "it was started more than twice"
expect 'its console ends with'
record 'r["reason"] == "launch_failed" and r["outcome"] == "infrastructure"'
nothing_left

# With templates too: the two VMs that were to be saved fell over, and the two after them.
operator_config "kernel_image: $work/kernel/vmlinuz"
in_vm 125 -- true
[ "$(grep -c 'cannot make a template' "$work/out")" = 2 ] || fail "not two templates were tried"
expect '; trying once more$'
expect '; starting without$'
expect "$panic"
nothing_left

# A kernel that comes up the second time: the job does not notice. The VMM has its kernel's file from before it is executed, so that
# the next one finds another under the same name.
operator_config "kernel_image: $work/kernel/vmlinuz"
templates false
"$runner" --checkout "$work/checkout" --image "$demo_image" -- echo 'the job ran' >"$work/out" 2>&1 </dev/null &
pid=$!
deadline=$((SECONDS + 60))
until pgrep -P "$pid" -f "$vmm" >"$work/vm" || [ $SECONDS -ge $deadline ]; do :; done
[ -s "$work/vm" ] || fail "no VM was started"
mv "$work/good" "$work/kernel/vmlinuz"
gone "$pid" "$vm_seconds"
status=0
wait "$pid" || status=$?
[ $status = 0 ] || fail "exit $status, expected 0"
expect "$panic"
expect '^the job ran$'
record 'r["start"] == "cold" and r["reason"] == "job_succeeded"'
nothing_left
