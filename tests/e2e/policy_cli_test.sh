#!/usr/bin/env bash
# `cleanroom policy ...` as people and scripts use it: exit codes 0, 1, 64, 78 and messages.
set -euo pipefail

cleanroom="${CLEANROOM_BIN_DIR:?}/cleanroom"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

# expect CODE REGEX COMMAND...: the exit code, and a line on stdout or stderr.
expect() {
  local code=$1 pattern=$2 status=0
  shift 2
  timeout 20 "$@" >out 2>&1 </dev/null || status=$?
  if [ "$status" != "$code" ] || ! grep -qE -- "$pattern" out; then
    echo "FAILED: $* : exit $status, expected $code and /$pattern/; got:"
    sed 's/^/  /' out
    failures=$((failures + 1))
  fi
}

cat >good.yaml <<'YAML'
version: 1
sandbox:
  network:
    default: deny
    allow:
      - {host: api.example.com, ports: [443], reason: release checks}
      - {host: "*.example.org"}
    deny:
      - {host: secret.example.org}
YAML
cat >bad.yaml <<'YAML'
version: "1"
sandbox:
  network:
    default: deny
    alow: []
    allow:
      - {host: "x:443"}
YAML

expect 0 '^cleanroom [0-9]+\.[0-9]+\.[0-9]+$' "$cleanroom" --version
expect 0 'policy ' "$cleanroom" --help
expect 0 'HOST\[:PORT\]' "$cleanroom" policy explain --help
expect 64 'error: ' "$cleanroom"

printf '%s\n' '{"event":"report","action":"deny","host":"a.example.com","reason":"host_not_allowed"}' \
  '{"event":"connect","action":"deny","host":"evil\\n","port":443,"reason":"host_not_allowed"}' 'no line' >audit.jsonl
expect 0 '^      - host: a.example.com  # once$' "$cleanroom" policy suggest --audit audit.jsonl
expect 0 '^# INCOMPLETE: 1 lines are no audit lines' "$cleanroom" policy suggest --audit audit.jsonl
expect 0 '"complete": false' "$cleanroom" policy suggest --audit audit.jsonl --json
"$cleanroom" policy suggest --audit audit.jsonl >suggested.yaml
expect 0 ': valid ' "$cleanroom" policy validate --policy suggested.yaml
expect 64 'hint: a run id' "$cleanroom" policy suggest --run ../../etc
expect 64 'error: ' "$cleanroom" policy suggest --run latest --audit audit.jsonl
expect 125 'cannot ' "$cleanroom" policy suggest --audit none.jsonl
expect 64 "hint: run 'cleanroom policy --help'" "$cleanroom" policy
expect 64 'error: ' "$cleanroom" policy vlidate
expect 64 'error: ' "$cleanroom" policy validate --polcy good.yaml
expect 64 "hint: run 'cleanroom policy explain --help'" "$cleanroom" policy explain --policy good.yaml

expect 0 '^good.yaml: valid \(sha256:[0-9a-f]{64}\)$' "$cleanroom" policy validate --policy good.yaml
expect 78 '^error: cannot use policy .bad.yaml.: 3 errors$' "$cleanroom" policy validate --policy bad.yaml
expect 78 '^bad.yaml:1:10: version: expected an integer' "$cleanroom" policy validate --policy bad.yaml
expect 78 "^bad.yaml:5:5: sandbox.network.alow: unknown key 'alow'; did you mean 'allow'" "$cleanroom" policy validate --policy bad.yaml
expect 78 '^bad.yaml:7:16: sandbox.network.allow\[0\].host: ' "$cleanroom" policy validate --policy bad.yaml
expect 78 '"reason": "policy_invalid"' "$cleanroom" policy validate --policy bad.yaml --json
expect 78 'no such file' "$cleanroom" policy validate --policy missing.yaml
expect 78 'no such file' "$cleanroom" policy validate
expect 0 '^sha256:[0-9a-f]{64}$' "$cleanroom" policy hash --policy good.yaml
expect 78 'error: ' "$cleanroom" policy hash --policy bad.yaml

expect 0 'allowed by sandbox.network.allow\[0\] \(release checks\)' "$cleanroom" policy explain --policy good.yaml API.example.com.
expect 1 'reason: port_not_allowed' "$cleanroom" policy explain --policy good.yaml api.example.com:80
expect 0 'allowed by sandbox.network.allow\[1\]' "$cleanroom" policy explain --policy good.yaml a.b.example.org:80
expect 1 'denied by sandbox.network.deny\[0\]' "$cleanroom" policy explain --policy good.yaml secret.example.org
expect 1 'reason: host_not_allowed' "$cleanroom" policy explain --policy good.yaml example.org
expect 1 'reason: ip_denied' "$cleanroom" policy explain --policy good.yaml 0x7f.1
expect 1 'reason: ip_denied' "$cleanroom" policy explain --policy good.yaml '[::1]:443'
expect 64 'port' "$cleanroom" policy explain --policy good.yaml api.example.com:65979
expect 64 'error: ' "$cleanroom" policy explain --policy good.yaml 'a b'
expect 78 'error: ' "$cleanroom" policy explain --policy bad.yaml api.example.com
"$cleanroom" policy explain --policy good.yaml --json api.example.com | python3 -c '
import json, sys
answer = json.load(sys.stdin)
assert answer["allowed"] is True and answer["rule"] == "sandbox.network.allow[0]", answer'
"$cleanroom" policy schema | python3 -c '
import json, sys
schema = json.load(sys.stdin)
assert schema["additionalProperties"] is False and "sandbox" in schema["properties"], schema'

# Look-up: the root file, then .buildkite, both with a warning.
mkdir -p .buildkite
cp good.yaml .buildkite/cleanroom.yaml
expect 0 '^.buildkite/cleanroom.yaml: valid' "$cleanroom" policy validate
cp good.yaml cleanroom.yaml
expect 0 '^cleanroom.yaml: warning: ..buildkite/cleanroom.yaml. is there too' "$cleanroom" policy validate

# POL-01: hostile files end in one error, soon.
head -c 100000 /dev/zero | tr '\0' '[' >deep.yaml
expect 78 'nested deeper than 32' "$cleanroom" policy validate --policy deep.yaml
truncate -s 100M huge.yaml
expect 78 'longer than 262144 bytes' "$cleanroom" policy validate --policy huge.yaml
mkfifo fifo.yaml
expect 78 'not a regular file' "$cleanroom" policy validate --policy fifo.yaml

# POL-09: no socket, no program, no file but the policy.
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
  # LeakSanitizer cannot run under a tracer.
  ASAN_OPTIONS=detect_leaks=0 strace -f -o trace -e trace=network,execve,fork,vfork,clone,clone3 \
    "$cleanroom" policy validate --policy good.yaml >/dev/null
  if grep -vE '^[0-9]+ +(execve\(.*cleanroom|\+\+\+ exited)' trace; then
    echo "FAILED: policy validate made the calls above"
    failures=$((failures + 1))
  fi
else
  echo "note: strace is not usable here, system calls are not checked"
fi

[ "$failures" = 0 ] || { echo "$failures failed"; exit 1; }
echo "all passed"
