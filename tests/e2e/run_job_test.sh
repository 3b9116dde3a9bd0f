#!/usr/bin/env bash
# One job as its author sees it: the checkout, the environment, output as it comes, outputs brought back, the network refused.
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"

policy '{host: allowed.example.com, ports: [443]}'
cd "$work/checkout"
git init -q . && git config remote.origin.url https://user:canary-secret@git.example.com/acme/web.git
mkdir -p sub .buildkite
printf 'content\n' >'sub/a file'
ln -s 'sub/a file' link
printf '#!/bin/sh\necho host hook\n' >.git/hooks/post-checkout

# SUP-03: bytes that a shell, a log or a wire format could trip over arrive as they are.
nasty=$'a\nb\t$(touch /tmp/x) `id` * "q" \'s\' \\ -n'
cat >job.sh <<'EOS'
set -u
echo "cwd=$PWD uid=$(id -u) host=$(hostname)"
[ "$NASTY" = "$1" ] && echo "argument and variable agree: ${#1}"
cat 'sub/a file' link
git -C . rev-parse --is-inside-work-tree
grep -c canary .git/config
ls .git/hooks/post-checkout
printf '\033[31mred\033[0m \033]0;title\007 \033_bk;t=1\007done\n'
echo to-stderr >&2
echo "aslr=$(cat /proc/sys/kernel/randomize_va_space)"
cat /proc/self/attr/current 2>/dev/null || echo 'no security module has labels'
[ -e /proc/pressure ] || echo 'no pressure is counted'
echo '--- network'
ls /sys/class/net
getent hosts evil.test || echo "evil.test: refused"
getent hosts allowed.example.com && echo "allowed name has an address"
timeout 20 curl -sS --max-time 15 https://registry.evil.test/ || echo "curl: $?"
timeout 20 curl -sS --max-time 15 http://169.254.169.254/latest/ || echo "metadata: $?"
env | grep -c -E 'TOKEN|HOST_ONLY' || true
mkdir -p build/deep && echo report >build/report.txt && echo deep >build/deep/x.xml
ln -s /etc/shadow build/link.txt
echo evil >.git/config; mkdir -p .buildkite/hooks && echo evil >.buildkite/hooks/pre-exit
echo last line without newline | tr -d '\n'
EOS
export NASTY=$nasty HOST_ONLY=1 SOME_TOKEN=canary-token
cp .git/config "$work/config-before"

in_vm 0 --env NASTY --output 'build/**' --output '.git/config' --output '.buildkite/**' --result "$work/result.json" -- /bin/sh job.sh "$nasty"
expect '^cwd=/workspace uid=0 host=cleanroom-[0-9a-f]{8}$'
expect "^argument and variable agree: ${#nasty}\$"
[ "$(grep -c '^content$' "$work/out")" = 2 ] || fail "the checkout and its links"
expect '^true$'
refuse 'canary-'
expect "No such file or directory" # the hook stayed on the host
# LOG-01, LOG-03: colours pass; title and timestamp forgery do not.
expect $'\033\\[31mred\033\\[0m'
refuse $'\033\\]|\033_'
expect '^to-stderr$'
# Emulated, programs lie where they always lie (docs/backends.md); with KVM where the kernel puts them.
if grep -q '^cleanroom: backend .* accel tcg' "$work/out"; then expect '^aslr=0$'; else expect '^aslr=2$'; fi
# The modules and the accounting of a distribution's kernel that would only take time (src/backends/guest_kernel.h).
expect '^no security module has labels$'
expect '^no pressure is counted$'
# EGR-01: no network device but loopback.
expect '^lo$'
expect 'evil.test: refused'
expect 'allowed name has an address'
expect '^cleanroom: blocked (registry\.)?evil\.test(:[0-9]+)? \(host_not_allowed\)$'
expect '^curl: [1-9]'
expect '^metadata: [1-9]'
expect 'last line without newline'

# WSP-01, WSP-03, WSP-05: regular files come back; links, .git and .buildkite do not.
[ "$(cat build/report.txt build/deep/x.xml)" = $'report\ndeep' ] || fail "outputs"
[ -z "$(find build -type l)" ] || fail "a link came back"
cmp -s .git/config "$work/config-before" || fail ".git/config was written"
[ ! -e .buildkite/hooks ] || fail ".buildkite/hooks was written"
expect 'refused .*link.txt'

# The closing summary and the record.
expect 'cleanroom: image +sha256:[0-9a-f]{64}'
expect "cleanroom: backend +$backend, accel (kvm|tcg)"
expect 'cleanroom: steps .*start [0-9]+ ms'
expect 'cleanroom: denied .*evil.test'
record 'r["outcome"] == "succeeded" and r["output_files"] == 2 and r["policy_hash"].startswith("sha256:")'
cmp -s "$work/result.json" "$(last_run)/run.json" || fail "--result is not the record"
# EGR-35, LOG-08: every line of the audit log is one JSON object of this run.
python3 - "$(last_run)" <<'PY' || fail "audit.jsonl"
import json, os, sys
lines = [json.loads(line) for line in open(sys.argv[1] + "/audit.jsonl")]
assert lines and all(line["run_id"] == os.path.basename(sys.argv[1]) for line in lines), lines
assert any(line.get("action") == "deny" and "evil.test" in line["host"] for line in lines), lines
PY
nothing_left

# The guest's clock is right, and runs at the right rate: an emulated counter at a wrong one would be seconds off after this.
in_vm 0 -- /bin/sh -c 'sleep 8; date "+clock %s"'
now=$(date +%s)
guest=$(sed -n 's/^clock \([0-9]*\).*/\1/p' "$work/out")
case $((now - guest)) in
  -1 | 0 | 1 | 2 | 3 | 4) ;;
  *) fail "the guest's clock is $((now - guest)) s behind" ;;
esac

# Output comes as it is written: the second line is caused by the first having arrived here.
mkfifo "$work/stream"
cat >slow.sh <<'EOS'
echo first
while [ ! -e /workspace/never ]; do sleep 1; done
EOS
timeout -k 5 120 "$runner" --checkout . --image "$demo_image" -- /bin/sh slow.sh >"$work/stream" 2>"$work/out" </dev/null &
pid=$!
read -r -t 90 line <"$work/stream" || line='(nothing)'
[ "$line" = first ] || fail "streaming: $line"
kill -TERM "$pid"
wait "$pid" && fail "a cancelled job succeeded"
nothing_left

# An operator may want address randomisation under emulation too.
if [ "$backend" = qemu ]; then
  operator_config 'emulated_aslr: true'
  in_vm 0 -- cat /proc/sys/kernel/randomize_va_space
  expect '^2$'
fi
