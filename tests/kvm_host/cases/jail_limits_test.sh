#!/usr/bin/env bash
# The cgroup of a VMM, where one is delegated: its limits are set, they bite, and it goes with the run (VMM-07, RES-01).
# A stub stands in Firecracker's place (tests/support/jail_stub), so that it is the host's limits which end it.
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"
parent=/sys/fs/cgroup/delegated
[ -w "$parent/cgroup.procs" ] || { echo "skip: needs a delegated cgroup, as tests/kvm_host has it"; exit 77; }

# vmm NAME [BACKEND]: the stub under that name is the VMM from now on. No templates: each run starts one VMM.
vmm() {
  local backend=${2:-firecracker}
  cp "$CLEANROOM_BIN_DIR/jail_stub" "$work/$1"
  cat >"$work/config/config.yaml" <<EOF
default_backend: $backend
require_isolation: [cgroup]
templates: {enable: false}
backends: {$backend: {binary_path: $work/$1, launch_seconds: 120}}
EOF
}
leaves() { find "$parent" -maxdepth 1 -name 'cleanroom-vm-*'; }
is() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }

# RES-01 VMM-07: more memory than the VM has, and the VMM besides, ends the VMM and nothing else; the run says so.
vmm eat-memory
in_vm 125 --memory 128 -- /bin/true
expect 'Firecracker ended before the guest was ready: signal 9 \(Killed\), as it had used up the memory of its cgroup'
record 'r["outcome"] == "infrastructure" and r["reason"] == "launch_failed" and r["isolation"]["cgroup"] is True'
is "RES-01 leaves after a VMM without end" "$(leaves)" ""
nothing_left

vmm qemu-eat-memory qemu
in_vm 125 --memory 128 -- /bin/true
expect 'ended before its agent was ready; its VMM ended: signal 9 \(Killed\), as it had used up the memory of its cgroup'
nothing_left

# RES-01: processes without end stop at the limit, which is the VM's processors and 32.
vmm make-threads
in_vm 125 --vcpus 2 -- /bin/true
is "RES-01 threads" "$(grep -o 'threads [0-9]*' "$(last_run)/console.log")" "threads 34"
is "RES-01 leaves after a thread bomb" "$(leaves)" ""

# VMM-07: each limit, while the VMM is there. Then the runner is killed: its VMM ends with it, and the next run sweeps.
vmm sit
"$runner" --checkout "$work/checkout" --image "$demo_image" --memory 128 --vcpus 2 -- /bin/true >"$work/out" 2>&1 </dev/null &
pid=$!
timeout 60 sh -c "until find $parent/cleanroom-vm-$pid-*/cgroup.procs -exec grep -q . {} + 2>/dev/null; do sleep 0.1; done" ||
  fail "no VMM in a cgroup"
leaf=$(leaves)
value() { cat "$leaf/$1"; }
is "VMM-07 memory.max" "$(value memory.max)" $(((128 + 256) << 20))
is "VMM-07 memory.oom.group" "$(value memory.oom.group)" 1
is "VMM-07 memory.swap.max" "$(cat "$leaf/memory.swap.max" 2>/dev/null || echo 0)" 0
is "VMM-07 pids.max" "$(value pids.max)" 34
is "VMM-07 cpu.weight" "$(value cpu.weight)" 50
[ ! -e "$leaf/io.weight" ] || is "VMM-07 io.weight" "$(value io.weight)" "default 50"
inside=$(value cgroup.procs)
kill -KILL "$pid"
wait "$pid" || true
timeout 20 sh -c "while kill -0 $inside 2>/dev/null; do sleep 0.1; done" || fail "FLT-01 the VMM outlives its runner"
is "FLT-01 the killed runner's leaf" "$(leaves)" "$leaf"
vmm make-threads
in_vm 125 -- /bin/true
is "FLT-01 leaves after the next run" "$(leaves)" ""
