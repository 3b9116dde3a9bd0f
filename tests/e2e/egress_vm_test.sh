#!/usr/bin/env bash
# EGR-19, EGR-24, EGR-27 in a VM, and that what is allowed works: curl in the guest against servers in a network namespace of
# this test, with no proxy variable and no certificate of ours.
set -euo pipefail
# shellcheck source=tests/e2e/own_network.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/own_network.bash"
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"

# A host on an address of its own, which the operator's ceiling opens.
ip link set lo up
ip address add 10.99.0.1/32 dev lo
printf '127.0.0.1 localhost\n10.99.0.1 allowed.example.com other.example.com\n' >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts
printf 'network: {private_cidrs: [10.99.0.0/24]}\n' >"$work/config/ceiling.yaml"
policy '{host: allowed.example.com}, {host: other.example.com, ports: [443]}, {host: 10.99.0.1, ports: [80, 443, 9000]}'

mkdir "$work/www"
head -c 20000000 /dev/urandom >"$work/www/big"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key" -out "$work/cert" -days 2 -subj /CN=allowed.example.com 2>/dev/null
cat >"$work/servers.py" <<'PY'
import functools, http.server, ssl, sys, threading
work = sys.argv[1]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=work + "/www")
for port in (80, 443, 9000):
    server = http.server.ThreadingHTTPServer(("10.99.0.1", port), handler)
    if port == 443:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(work + "/cert", work + "/key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
threading.Event().wait(280)
PY
mkfifo "$work/ready"
python3 "$work/servers.py" "$work" >"$work/ready" 2>"$work/requests" &
read -r -t 30 line <"$work/ready" || line='(nothing)'
[ "$line" = ready ] || fail "the servers did not start: $line"

cat >"$work/checkout/job.sh" <<'EOS'
get() { timeout 60 curl -sS --max-time 50 "$@"; }
env | grep -i proxy && echo "a proxy variable"
echo "http $(get http://allowed.example.com/big | sha256sum | cut -c1-16)"
echo "https $(get -k https://allowed.example.com/big | sha256sum | cut -c1-16)"
echo "address $(get http://10.99.0.1:9000/big | sha256sum | cut -c1-16)"
echo "upload $(head -c 3000000 /dev/zero | get -o /dev/null -w '%{http_code}' -X POST --data-binary @- http://allowed.example.com/)"
echo "--- refusals"
address=$(getent hosts allowed.example.com | cut -d' ' -f1)
get -k --resolve "other.example.com:443:$address" https://other.example.com/ -o /dev/null && echo "SNI of another name passed"
echo "host header: $(get -o /dev/null -w '%{http_code}' -H 'Host: other.example.com' http://allowed.example.com/)"
get http://allowed.example.com:9000/ -o /dev/null && echo "a port that no rule names passed"
get http://denied.example.com/ -o /dev/null && echo "a name that no rule names passed"
start=$(cut -d. -f1 /proc/uptime)
get http://denied.example.com/ -o /dev/null
[ $(($(cut -d. -f1 /proc/uptime) - start)) -le 5 ] && echo "refused at once"
EOS
in_vm 1 -- /bin/sh -ec 'sh job.sh; exit 1' # the exit status of a job that is not the last command's
sum=$(sha256sum "$work/www/big" | cut -c1-16)
expect "^http $sum\$"
expect "^https $sum\$"
expect "^address $sum\$"
expect '^upload 501$'
refuse 'a proxy variable|passed$'
expect '^host header: 400$'
expect '^refused at once$'
expect 'blocked allowed.example.com:443 \(sni_mismatch\)'
expect 'blocked allowed.example.com:80 \(http_host_mismatch\)'
expect 'blocked denied.example.com \(host_not_allowed\)'
# Nothing of a refused request reached the servers: exactly the three downloads and the upload did.
[ "$(grep -cE '"(GET|POST) ' "$work/requests")" = 4 ] || { fail "requests"; sed 's/^/  | /' "$work/requests"; }
record 'any(e["host"] == "allowed.example.com" and e["port"] == 80 and e["allowed"] >= 2 for e in r["network"])'
kill %1
