#!/usr/bin/env bash
# A recorded run in a VM writes a policy under which the same job passes; so does what `cleanroom policy suggest` makes of a
# refused run. The operator's audit file gets every line of all of these runs.
set -euo pipefail
# shellcheck source=tests/e2e/own_network.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/own_network.bash"
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"
cleanroom="${CLEANROOM_BIN_DIR:?}/cleanroom"

ip link set lo up
ip address add 10.99.0.1/32 dev lo
printf '127.0.0.1 localhost\n10.99.0.1 one.example.com two.example.com\n' >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts
printf 'network: {private_cidrs: [10.99.0.0/24]}\n' >"$work/config/ceiling.yaml"
printf 'allow_emulation: true\naudit: {file: %s, required: true}\n' "$work/all.jsonl" >"$work/config/config.yaml"

mkdir "$work/www"
echo here >"$work/www/index.html"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key" -out "$work/cert" -days 2 -subj /CN=one.example.com 2>/dev/null
cat >"$work/servers.py" <<'PY'
import functools, http.server, ssl, sys, threading
work = sys.argv[1]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=work + "/www")
for port in (80, 443, 8765):
    server = http.server.ThreadingHTTPServer(("10.99.0.1", port), handler)
    if port == 443:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(work + "/cert", work + "/key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
threading.Event().wait(800)
PY
mkfifo "$work/ready"
python3 "$work/servers.py" "$work" >"$work/ready" 2>/dev/null &
server=$!
read -r -t 30 line <"$work/ready" || line='(nothing)'
[ "$line" = ready ] || fail "the servers did not start: $line"

# Fails unless each of these answers.
cat >"$work/checkout/job.sh" <<'EOS'
failed=0
get() { timeout 60 curl -fsS --max-time 50 "$@" >/dev/null || { echo "no answer: $*"; failed=1; }; }
get -k https://one.example.com/
get http://two.example.com:8765/
get http://10.99.0.1:8765/
exit $failed
EOS
# A ClientHello that names nobody: curl has an address, which is the guest's for that name.
cat >"$work/checkout/nameless.sh" <<'EOS'
timeout 60 curl -fsSk --max-time 50 "https://$(getent hosts two.example.com | cut -d' ' -f1)/"
EOS
cat >"$work/checkout/loopback.sh" <<'EOS'
timeout 20 curl -sS --max-time 15 http://169.254.169.254/ && echo "metadata answered"
timeout 20 curl -sS --max-time 15 http://127.0.0.1:8765/ && echo "the host's loopback answered"
true
EOS

echo "--- a recorded run, without a policy"
rm "$work/checkout/cleanroom.yaml"
in_vm 0 --record "$work/recorded.yaml" -- /bin/sh -ec 'sh job.sh; sh nameless.sh; sh loopback.sh'
expect 'cleanroom: warning: recording: '
expect "cleanroom: recorded: $work/recorded.yaml"
refuse 'answered|no answer'
record 'r["recorded"] is True and r["audit_sink_lost"] == 0'
grep -qx '      - host: one.example.com  # once' "$work/recorded.yaml" || fail "recorded: $(cat "$work/recorded.yaml")"
grep -q 'not suggested: 169.254.169.254:80 (ip_denied)' "$work/recorded.yaml" || fail "recorded: $(cat "$work/recorded.yaml")"
"$cleanroom" policy validate --policy "$work/recorded.yaml" >"$work/out" 2>&1 || fail "the recorded policy is not valid"

echo "--- the same job under the recorded policy"
cp "$work/recorded.yaml" "$work/checkout/cleanroom.yaml"
grep -qx '        tls: opaque' "$work/recorded.yaml" || fail "recorded: $(cat "$work/recorded.yaml")"
in_vm 0 -- /bin/sh -ec 'sh job.sh; sh nameless.sh'
refuse 'no answer|were refused|was refused'
record 'r["recorded"] is False'

echo "--- a refused run; its suggestion; the same job again"
policy ''
in_vm 1 -- sh job.sh
expect 'refused; cleanroom.yaml would allow '
expect 'host: one.example.com'
"$cleanroom" policy suggest --run latest >"$work/suggested.yaml"
grep -q 'host: one.example.com' "$work/suggested.yaml" || fail "suggested: $(cat "$work/suggested.yaml")"
"$cleanroom" policy suggest --run latest --json | python3 -c 'import json,sys; r=json.load(sys.stdin); assert r["complete"] and r["served"] >= 1, r'
# Each answer uncovers what the job asks for next: names first, then the address behind them and their ports.
for _ in 1 2 3 4; do
  status=0
  python3 - "$work/checkout/cleanroom.yaml" "$work/suggested.yaml" <<'PY'
import sys, yaml
have, more = (yaml.safe_load(open(path)) for path in sys.argv[1:])
have["sandbox"]["network"]["allow"] += more["sandbox"]["network"]["allow"]
yaml.safe_dump(have, open(sys.argv[1], "w"))
PY
  timeout -k 5 240 "$runner" --checkout "$work/checkout" --image "$demo_image" -- sh job.sh >"$work/out" 2>&1 </dev/null || status=$?
  [ "$status" != 0 ] || break
  "$cleanroom" policy suggest --run latest >"$work/suggested.yaml"
done
[ "$status" = 0 ] || fail "the suggestions did not lead to a policy: $(cat "$work/checkout/cleanroom.yaml")"

echo "--- the operator's file has what the runs have"
cat "$XDG_STATE_HOME"/cleanroom/runs/*/audit.jsonl | sort >"$work/expected"
sort "$work/all.jsonl" | cmp - "$work/expected" || fail "the operator's audit file differs from the runs'"
python3 - "$work/all.jsonl" "$CLEANROOM_SOURCE_DIR/docs/audit.schema.json" <<'PY' || fail "a line is not within the schema"
import json, sys, jsonschema
schema = json.load(open(sys.argv[2]))
for line in open(sys.argv[1]):
    jsonschema.validate(json.loads(line), schema)
PY
printf 'allow_emulation: true\naudit: {socket: %s/none.sock, required: true}\n' "$work" >"$work/config/config.yaml"
in_vm 78 -- true
expect 'cannot use the audit socket'
nothing_left
kill "$server"
