#!/usr/bin/env bash
# The jail around a real VM, as /proc shows it while a job runs; and a job that eats all it can. As root or as any user.
# Usage: jail_vm_test.sh [qemu|firecracker]
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"

# start COMMAND...: in the background; waits until the job says it runs. Sets $pid and $vm.
start() {
  rm -f "$work/stream" && mkfifo "$work/stream"
  "$runner" --checkout "$work/checkout" --image "$demo_image" "$@" >"$work/stream" 2>"$work/out" </dev/null &
  pid=$!
  exec {from}<"$work/stream"
  read -r -t 180 line <&"$from" || line='(nothing)'
  [ "$line" = running ] || fail "the job did not start: $line"
  vm=$(pgrep -P "$pid" -f "$vmm") || { fail "no VM below $pid"; exit 1; }
}
# stop EXIT-REGEX SECONDS: cancels, and measures the time until the runner has ended.
stop() {
  local status=0 begun=$SECONDS
  kill -TERM "$pid"
  timeout 20 sh -c "until grep -q 'ending the job' '$work/out'; do :; done" || fail "the first signal was not seen"
  kill -TERM "$pid"
  wait "$pid" || status=$?
  exec {from}<&-
  [[ $status =~ ^($1)$ ]] || fail "exit $status, expected $1"
  [ $((SECONDS - begun)) -le "$2" ] || fail "the run took $((SECONDS - begun)) s to end"
  ! kill -0 "$vm" 2>/dev/null || fail "the VMM $vm is still there"
}
status_of() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$vm/status"; }
is() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }

if ! unshare -U true 2>/dev/null; then
  echo "skip: needs user namespaces"
  exit 77
fi

export HOST_SECRET=canary-environment
start -- /bin/sh -c 'echo running; while :; do sleep 1; done'

# VMM-01: no capability, none to be had, a filter, no core; not root inside, nor outside unless the runner is.
for set in CapInh CapPrm CapEff CapBnd CapAmb; do is "VMM-01 $set" "$(status_of $set)" 0000000000000000; done
is "VMM-01 NoNewPrivs" "$(status_of NoNewPrivs)" 1
is "VMM-01 Seccomp" "$(status_of Seccomp)" 2
outer=$(id -u)
[ "$outer" != 0 ] || outer=$((0x7f000000 + pid)) # root gives each run's VMM a user that nobody has
is "VMM-01 uid_map" "$(tr -s ' ' <"/proc/$vm/uid_map" | sed 's/^ //')" "1000 $outer 1"
is "VMM-01 users" "$(status_of Uid | tr '\t' ' ')" "$outer $outer $outer $outer"
is "VMM-01 memory in a core" "$(cat "/proc/$vm/coredump_filter")" 00000000
is "VMM-01 setgroups" "$(cat "/proc/$vm/setgroups")" deny
is "VMM-01 threads without a filter" "$(cat "/proc/$vm"/task/*/status | grep -c '^Seccomp:.*[^2]$')" 0

# VMM-02: namespaces of its own, a root with the files of the list, no interface with an address.
for ns in user mnt pid net ipc uts cgroup; do
  [ "$(readlink "/proc/$vm/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ] || fail "VMM-02 the VMM shares the $ns namespace"
done
[[ $(status_of NSpid) == *1 ]] || fail "VMM-02 the VMM is not the first process of its namespace: $(status_of NSpid)"
is "VMM-02 routes" "$(sed 1d "/proc/$vm/net/route" | wc -l)" 0
is "VMM-02 IPv6 addresses" "$(wc -l <"/proc/$vm/net/if_inet6")" 0
# Mounts: field 5 is the place, 6 the options. What is not a library, the VMM, firmware or a device is the template's memory;
# Firecracker has its files under names, the descriptors it is given, and a directory for its sockets besides.
awk '{print $5, $6}' "/proc/$vm/mountinfo" >"$work/mounts"
is "VMM-02 the root" "$(awk '$1 == "/" {print ($2 ~ /^ro,nosuid,nodev,noexec/)}' "$work/mounts")" 1
known='/|/dev/(null|urandom|kvm)|/etc/ld.so.cache|/(usr/)?lib(64)?/[^ ]*\.so[^ ]*'
if [ "$backend" = firecracker ]; then
  known+="|$CLEANROOM_FIRECRACKER_BIN|/disk0|/state|/proc/self/fd|/vmm"
  memory='^/memory$' writable_there=/vmm
  is "VMM-02 /proc" "$(cd "/proc/$vm/root/proc" && find . -maxdepth 2 | sort | tr '\n' ' ')" ". ./self ./self/fd "
else
  known+='|/usr/bin/qemu-system-x86_64|/usr/share/qemu/[a-z_.-]*'
  memory='^[^[:space:]]*/templates/[^[:space:]]*/memory$' writable_there=''
  [ ! -e "/proc/$vm/root/proc" ] || fail "VMM-02 the VMM sees /proc"
fi
other=$(grep -vE "^($known) " "$work/mounts" || true)
[[ $(awk '{print $1}' <<<"$other") =~ $memory ]] || fail "VMM-02 other mounts: $other"
is "VMM-02 writable mounts" "$(awk '$2 !~ /^ro/ {print $1}' "$work/mounts" | grep -v '^/dev/' || true)" "$writable_there"
[[ $(awk '{print $2}' <<<"$other") == ro,* ]] || fail "VMM-04 the template's memory can be written: $other"
awk '$2 !~ /nosuid/' "$work/mounts" | grep . && fail "VMM-02 mounts with setuid programs"
for path in /etc/passwd /sys /run /bin /tmp "$HOME/.ssh" "$work/checkout"; do
  [[ ${other%% *} != "$path"/* ]] || continue # where the template's memory happens to be
  [ ! -e "/proc/$vm/root$path" ] || fail "VMM-02 the VMM sees $path"
done

# VMM-03: descriptors are sockets, pipes, disks, events and the state; no directory, nothing of /etc. No environment.
is "VMM-03 environ" "$(tr '\0' '\n' <"/proc/$vm/environ" | wc -l)" 0
for fd in "/proc/$vm"/fd/*; do
  target=$(readlink "$fd") || continue
  case $target in
    socket:* | pipe:* | anon_inode:* | /dev/null | /null | */rootfs.ext4 | */scratch.ext4 | */workspace.ext4 | */state | */memory) ;;
    /dev/kvm | /dev/urandom) ;;
    /disk0 | /memfd:iov_deque*) [ "$backend" = firecracker ] || fail "VMM-03 descriptor ${fd##*/} is $target" ;;
    *) fail "VMM-03 descriptor ${fd##*/} is $target" ;;
  esac
  [ ! -d "$fd" ] || fail "VMM-03 descriptor ${fd##*/} is a directory: $target"
done
tr '\0' ' ' <"/proc/$vm/cmdline" >"$work/arguments"
! grep -q canary "$work/arguments" || fail "VMM-03 a secret is in the arguments"

# VMM-07: limits of the process; those of the cgroup where the host delegates one.
limit() { awk -v name="$1" 'index($0, name) == 1 {sub(name, ""); print $2}' "/proc/$vm/limits"; }
is "VMM-07 core size" "$(limit 'Max core file size')" 0
is "VMM-07 open files" "$(limit 'Max open files')" 256
is "VMM-07 locked memory" "$(limit 'Max locked memory')" 0
[ "$(limit 'Max processes')" -le 512 ] || fail "VMM-07 processes: $(limit 'Max processes')"
[ "$(limit 'Max file size')" != unlimited ] || fail "VMM-07 the file size has no limit"
leaf=$(sed -n 's/^0:://p' "/proc/$vm/cgroup")
if [[ $leaf == *cleanroom-vm-* ]]; then
  place=$(awk '/ - cgroup2 / {print $5; exit}' /proc/self/mountinfo)$leaf
  [ "$(cat "$place/memory.max")" -gt 0 ] || fail "VMM-07 memory.max: $(cat "$place/memory.max")"
  [ "$(cat "$place/memory.swap.max" 2>/dev/null || echo 0)" = 0 ] || fail "VMM-07 memory.swap.max"
  [ "$(cat "$place/pids.max")" -le 512 ] || fail "VMM-07 pids.max: $(cat "$place/pids.max")"
  for weight in cpu io; do
    [ ! -e "${place%/*}/$weight.stat" ] || grep -qE '^(default )?50$' "$place/$weight.weight" || fail "VMM-07 $weight.weight"
  done
else
  place=
fi

# VMM-08: what the guest is given is what the command line says and nothing more.
if [ "$backend" = firecracker ]; then
  expected=' --api-sock api.sock --log-path /proc/self/fd/3 --level Info --show-level --metrics-path /proc/self/fd/4 '
  is "VMM-08 arguments" "$(cat "$work/arguments")" "$CLEANROOM_FIRECRACKER_BIN$expected"
  # Its sockets are in its own directory: the host's file systems have no name for them.
  [ -S "/proc/$vm/root/vmm/api.sock" ] || fail "VMM-08 no API socket in the VMM's directory"
  is "VMM-08 mode of the sockets' directory" "$(stat -c %a "/proc/$vm/root/vmm")" 700
  is "VMM-08 sockets with names" "$(find "$work" -type s)" ""
else
  for argument in '-M microvm,' '-nodefaults ' '-no-user-config ' \
    '-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny '; do
    grep -qF -- "$argument" "$work/arguments" || fail "VMM-08 no '$argument'"
  done
  ! grep -qE -- '-(netdev|nic|usb|vga|virtfs|fsdev|qmp|monitor|gdb|s) ' "$work/arguments" || fail "VMM-08 $(cat "$work/arguments")"
  ! grep -oE 'socket,[^ ]*(path|host|port)=[^ ]*' "$work/arguments" || fail "VMM-08 a socket with a name"
fi

stop '130|143' 5
[ -z "$place" ] || [ ! -e "$place" ] || fail "VMM-07 the cgroup $place is left"
nothing_left
# run.json names each wall.
record 'r["isolation"]["user_namespace"] is True and r["isolation"]["seccomp"] is True and len(r["isolation"]) == 13'
record 'r["isolation"]["unprivileged_uid"] is True'
record 'r["isolation"]["cgroup"] is True or "cgroup" in r["isolation"]["cgroup"]'
refuse 'confined less'

# RES-01: processes without end, then memory without end. The host stays within the VM's limits; cancel ends it; no success.
# shellcheck disable=SC2016
for bomb in 'b() { b | b & }; echo running; b; while :; do sleep 1; done' \
  'echo running; while :; do tail /dev/zero >/dev/null 2>&1 & sleep 0.2; done'; do
  start --memory 512 -- /bin/sh -c "$bomb"
  # The guest is at it once its VMM has used 8 s of processor time more, or has ended.
  ticks() { awk '{print int($14 + $15)}' "/proc/$vm/stat" 2>/dev/null || echo 999999; }
  enough=$(($(ticks) + 8 * $(getconf CLK_TCK))) limit_at=$((SECONDS + 60))
  while [ "$(ticks)" -lt $enough ] && [ $SECONDS -lt $limit_at ]; do sleep 0.2; done
  if [ -e "/proc/$vm/status" ]; then
    [ "$(status_of Threads)" -le 300 ] || fail "RES-01 the VMM has $(status_of Threads) threads"
    resident=$(status_of VmRSS | tr -dc 0-9)
    [ "$resident" -le $(((512 + 1536) * 1024)) ] || fail "RES-01 the VMM holds $resident KiB"
  fi
  stop '[1-9][0-9]*' 5
  record 'r["outcome"] != "succeeded" and r["exit_code"] != 0'
  nothing_left
done

# A host without user namespaces: the job runs, the lack is named; required, it is refused before anything starts.
without_namespaces() {
  local status=0
  timeout -k 5 240 unshare -Ur sh -c 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"' sh \
    "$runner" --checkout "$work/checkout" --image "$demo_image" -- /bin/echo it ran >"$work/out" 2>&1 </dev/null || status=$?
  [ "$status" = "$1" ] || fail "exit $status, expected $1, without user namespaces"
}
without_namespaces 0
expect '^it ran$'
expect 'warning: the VM'
[ "$(grep -c 'confined less' "$work/out")" = 1 ] || fail "the lack is not named once"
record 'r["isolation"]["seccomp"] is True and "No space" in r["isolation"]["user_namespace"]'
echo 'require_isolation: [seccomp, user_namespace]' >>"$work/config/config.yaml"
without_namespaces 78
expect "cannot confine the VMM as this host's operator requires: user_namespace: "
record 'r["outcome"] == "refused" and r["reason"] == "backend_capability_mismatch"'
in_vm 0 -- /bin/true
nothing_left
