#!/usr/bin/env bash
# What a VM can make this host ask and touch: EGR-01, EGR-03, EGR-05, EGR-06, EGR-07, EGR-08 with the host's real resolver against a name
# server that writes down every query, and canary listeners on everything that must stay silent.
set -euo pipefail
# shellcheck source=tests/e2e/own_network.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/own_network.bash"
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"
support=$CLEANROOM_SOURCE_DIR/tests/support

ip link set lo up
for address in 10.99.0.1 10.99.0.53 10.99.0.66 169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.168.1.1; do
  ip address add "$address/32" dev lo
done
ip address add fd00:ec2::254/128 dev lo nodad
printf '127.0.0.1 localhost\n' >"$work/hosts"
printf 'nameserver 10.99.0.53\nsearch corp.example.com\noptions ndots:5\n' >"$work/resolv"
printf 'hosts: files dns\n' >"$work/nsswitch"
mount --bind "$work/hosts" /etc/hosts
mount --bind "$work/resolv" /etc/resolv.conf
mount --bind "$work/nsswitch" /etc/nsswitch.conf
printf 'network: {private_cidrs: [10.99.0.1/32]}\n' >"$work/config/ceiling.yaml"

cat >"$work/zone.json" <<'JSON'
{"good.example.com": {"A": [["10.99.0.1"]]},
 "rebind.example.com": {"A": [["10.99.0.1"], ["127.0.0.1"]]},
 "flip.example.com": {"A": [["127.0.0.1"]]},
 "mixed.example.com": {"A": [["169.254.169.254", "10.99.0.66", "10.99.0.1"]]},
 "alias.example.com": {"CNAME": "flip.example.com"},
 "loopback.example.com": {"A": [["127.0.0.1"]], "AAAA": [["::1"]]},
 "mapped.example.com": {"AAAA": [["::ffff:169.254.169.254"]]},
 "nat64.example.com": {"AAAA": [["64:ff9b::a9fe:a9fe"]]},
 "metadata.example.com": {"A": [["169.254.169.254"]], "AAAA": [["fd00:ec2::254"]]},
 "wire.example.com": {"A": [["168.63.129.16"]]},
 "lan.example.com": {"A": [["192.168.1.1"]]},
 "broken.example.com": {"rcode": 2}}
JSON
start() {
  mkfifo "$work/ready.$1"
  "$support/$1" "${@:2}" >"$work/ready.$1" &
  read -r -t 30 line <"$work/ready.$1" || line='(nothing)'
  [[ $line = ready* ]] || fail "$1 did not start: $line"
}
start stub_dns --address 10.99.0.53 --zone "$work/zone.json" --log "$work/queries"
canaries=("unix:$work/canary.sock" abstract:cleanroom-canary vsock:80 udp:127.0.0.1:443 udp:10.99.0.66:53 udp:169.254.169.254:53)
for address in 127.0.0.1 ::1 10.99.0.66 169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.168.1.1 fd00:ec2::254; do
  for port in 22 80 443 2375; do canaries+=("tcp:$address:$port"); done
done
start canary --log "$work/touched" "${canaries[@]}"
cat >"$work/spec.json" <<JSON
{"names": ["good.example.com"], "listeners": {"http": {"address": "10.99.0.1", "port": 80, "routes": [
  {"prefix": "/", "mode": "status", "status": 200, "body": "hello"}]}}}
JSON
mkfifo "$work/ready.farm"
"$support/farm/upstream_farm" --dir "$work/farm" --spec "$work/spec.json" >"$work/ready.farm" &
read -r -t 30 line <"$work/ready.farm" || line='(nothing)'
[[ $line = ready* ]] || fail "the servers did not start: $line"

policy '{host: "*.example.com"}, {host: 10.99.0.1}'
cat >"$work/checkout/job.sh" <<'EOS'
get() { timeout 20 curl -sS --max-time 15 -o /tmp/got "http://$1/" >/tmp/said 2>&1 && [ "$(cat /tmp/got)" = hello ]; }
get good.example.com && echo "good: reached"
get rebind.example.com && echo "rebind: reached once"
get rebind.example.com && echo "rebind: reached twice"
get mixed.example.com && echo "mixed: reached"
for name in flip alias loopback mapped nat64 metadata wire lan broken missing; do get $name.example.com && echo "$name: reached"; done
get secret-4711.evil.test && echo "evil: reached"
get good.example.com.evil.test && echo "suffix: reached"
echo "--- addresses"
for host in 127.0.0.1 127.1 0 0x7f.1 0177.0.0.1 2130706433 169.254.169.254 2852039166 0xa9fea9fe 100.100.100.200 168.63.129.16 10.99.0.66 \
  '[::1]' '[::ffff:127.0.0.1]' '[::ffff:a9fe:a9fe]' '[64:ff9b::7f00:1]' '[fd00:ec2::254]'; do get "$host" && echo "$host: reached"; done
echo "--- sockets"
echo "devices $(ls /sys/class/net | tr '\n' ' ')"
python3=$(command -v python3 || true)
[ -z "$python3" ] || echo "python is here"
for path in /dev/udp/10.99.0.66/53 /dev/udp/169.254.169.254/53 /dev/tcp/10.99.0.66/22; do
  timeout 5 bash -c "echo x >$path" 2>/dev/null && echo "$path: sent"
done
echo "over"
EOS
in_vm 0 -- /bin/sh job.sh
expect '^good: reached$'
expect '^rebind: reached once$'
expect '^mixed: reached$'
expect '^devices lo $'
expect '^over$'
refuse '^(flip|alias|loopback|mapped|nat64|metadata|wire|lan|broken|missing|evil|suffix|[0-9\[].*): reached$'
refuse '^rebind: reached twice$'
refuse ': sent$'
[ ! -s "$work/touched" ] || fail "a canary was touched: $(cat "$work/touched")"

# EGR-03: nothing was asked about what policy does not allow, in any spelling. EGR-08: each connection asked once for each family, for
# the name itself and with no search domain.
python3 - "$work/queries" <<'PY' || fail "what the name server saw"
import collections, json, sys
queries = [json.loads(line) for line in open(sys.argv[1])]
names = collections.Counter((query["name"], query["type"]) for query in queries)
strange = [name for name, _ in names if not name.endswith(".example.com") or "corp" in name or "evil" in name]
# Two connections to rebind; a server that fails is asked again.
often = {key: count for key, count in names.items() if count > (2 if key[0].split(".")[0] in ("rebind", "broken") else 1)}
print(f"{len(queries)} queries; strange: {strange}; more than once a connection: {often}")
sys.exit(1 if strange or often or names[("good.example.com", "A")] != 1 else 0)
PY
nothing_left
