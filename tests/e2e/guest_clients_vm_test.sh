#!/usr/bin/env bash
# Ordinary programs in a VM find an ordinary network: curl, wget, git, apt, pip, npm, Python, Go, Java, Node, glibc, musl, busybox, with
# no proxy variable and no certificate of ours. The only certificate is that of the test's own servers.
set -euo pipefail
here=${CLEANROOM_SOURCE_DIR:?}/tests/e2e/guest_clients
layout=${XDG_CACHE_HOME:-$HOME/.cache}/cleanroom/layouts/clients
if [ -z "${OWN_NETWORK:-}" ]; then
  "$CLEANROOM_SOURCE_DIR/scripts/make-base-image" --output "$layout" \
    --packages ca-certificates,curl,wget,git,python3-pip,npm,default-jre-headless,busybox
fi
# shellcheck source=tests/e2e/own_network.bash
source "$CLEANROOM_SOURCE_DIR/tests/e2e/own_network.bash"
# shellcheck source=tests/e2e/vm_support.bash
source "$CLEANROOM_SOURCE_DIR/tests/e2e/vm_support.bash"
demo_image=oci:$layout

ip link set lo up
ip address add 10.99.0.1/32 dev lo
printf '127.0.0.1 localhost\n10.99.0.1 web.example.com git.example.com deb.example.com pypi.example.com npm.example.com\n' >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts
printf 'network: {private_cidrs: [10.99.0.0/24]}\n' >"$work/config/ceiling.yaml"
policy '{host: web.example.com}, {host: git.example.com}, {host: "*.example.com"}, {host: 10.99.0.1}'

# What the servers serve.
mkdir "$work/www" "$work/git"
echo "hello from the farm" >"$work/www/hello"
head -c 20000000 /dev/urandom >"$work/www/large"
python3 -B "$here/make_packages.py" "$work/packages" 2>"$work/make" || { cat "$work/make"; exit 1; }
git init -q "$work/origin"
echo "hello from git" >"$work/origin/hello"
git -C "$work/origin" add hello
git -C "$work/origin" -c user.name=t -c user.email=t@example.com commit -qm hello
git clone -q --bare "$work/origin" "$work/git/repo.git"
cat >"$work/spec.json" <<JSON
{"names": ["*.example.com"], "listeners": {
  "http": {"address": "10.99.0.1", "port": 80, "routes": [
    {"prefix": "/f/", "mode": "files", "root": "$work/www"},
    {"prefix": "/debian/", "mode": "files", "root": "$work/packages/debian"}]},
  "https": {"address": "10.99.0.1", "port": 443, "tls": "good", "routes": [
    {"prefix": "/f/", "mode": "files", "root": "$work/www"},
    {"prefix": "/simple/", "mode": "files", "root": "$work/packages/simple", "type": "application/zip"},
    {"prefix": "/repo.git/", "mode": "git", "root": "$work/git/repo.git"},
    {"prefix": "/", "mode": "files", "root": "$work/packages/npm", "type": "application/json"}]}}}
JSON
mkfifo "$work/ready"
"$CLEANROOM_SOURCE_DIR/tests/support/farm/upstream_farm" --dir "$work/farm" --spec "$work/spec.json" >"$work/ready" &
read -r -t 30 line <"$work/ready" || line='(nothing)'
[[ $line = ready* ]] || fail "the servers did not start: $line"

# What the guest brings along.
cp "$here/job.sh" "$here/dns_tcp.py" "$work/checkout"
cp "$work/farm/tls/ca.pem" "$work/checkout/ca.pem"
openssl x509 -in "$work/checkout/ca.pem" -noout -subject_hash >"$work/checkout/ca.hash"
echo "hello from the guest itself" >"$work/checkout/hello-local"
cc -o "$work/checkout/probe-glibc" "$here/probe.c"
musl-gcc -static -o "$work/checkout/probe-musl" "$here/probe.c"
export GOTOOLCHAIN=local GO111MODULE=off
CGO_ENABLED=0 go build -o "$work/checkout/probe-go-static" "$here/probe.go"
CGO_ENABLED=1 go build -o "$work/checkout/probe-go-cgo" "$here/probe.go"

vm_seconds=500
fail() { echo "FAIL: $*"; failures=$((failures + 1)); } # the output is long: it is shown once, below
in_vm 0 --memory 1536 -- /bin/sh job.sh
grep -E '^  \(' "$work/out" || true
says() { expect "^$1: $2"'[[:space:]]*$'; }
refuse 'a proxy variable'
says resolve-glibc '198\.(18|19)\.[0-9.]+'
says resolve-musl '198\.(18|19)\.[0-9.]+'
says resolve-localhost "(127.0.0.1|::1)( (127.0.0.1|::1))* *"
says resolve-localhost-musl "127.0.0.1 ::1 *"
says resolve-tcp 'web.example.com rcode 0 answers 1'
says refused-tcp "refused.example.net rcode 3 answers 0"
for client in get-glibc get-musl curl-http curl-https wget-http wget-https busybox-http python-https node-https \
  go-static go-own-resolver go-cgo-resolver; do
  says $client 'hello from the farm'
done
says java-https '.*CN=\*.example.com.*'
says large "$(sha256sum <"$work/www/large")"
says git 'hello from git'
says apt 'tinypkg from apt'
says pip 'tinypkg from pip'
says npm 'tinypkg from npm'
says localhost-127.0.0.1 'hello from the guest itself'
says localhost-::1 'hello from the guest itself'
for client in curl wget glibc musl go port; do says refused-$client 'at once'; done
expect 'blocked refused.example.net \(host_not_allowed\)'
expect 'blocked web.example.com:8080 \(port_not_allowed\)'

# The servers saw the programs as they are, under the names they were asked for, and no trace of a proxy.
python3 - "$work/farm/requests.jsonl" <<'PY' || fail "what the servers saw"
import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
requests = [event for event in events if event["event"] == "request"]
agents = " ".join(dict(map(tuple, request["headers"])).get("user-agent", "") for request in requests)
missing = [name for name in ("curl/", "Wget/", "git/", "APT", "pip/", "npm/", "Python-urllib/", "Go-http-client/", "Java/", "node") if name not in agents]
traces = [name for request in requests for name, _ in request["headers"] if name in ("via", "forwarded", "proxy-connection") or name.startswith("x-forwarded")]
names = {event["tls"]["sni"] for event in events if event["event"] == "tls"}
print(f"{len(requests)} requests; missing: {missing}; traces of a proxy: {traces}; names: {sorted(names)}")
sys.exit(1 if missing or traces or not names >= {"web.example.com", "git.example.com", "pypi.example.com", "npm.example.com"} else 0)
PY
kill %1
nothing_left
[ $failures = 0 ] || sed 's/^/  | /' "$work/out"
