#!/usr/bin/env bash
# scripts/install-deps with stand-ins for dpkg-query, apt-get, sudo and id: what it asks for, as whom, and when it asks nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'FAIL: %s\n' "$*" >&2; [ ! -f "$work/calls" ] || cat "$work/calls" >&2; exit 1; }

stub() { printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1" && chmod +x "$work/bin/$1"; }
mkdir "$work/bin"
# Only what the script may use: without a sudo of its own the machine's must not be found.
for tool in bash env sed sort comm dirname cat rm; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
stub dpkg-query "cat '$work/installed'"
stub apt-get "echo \"apt-get \$*\" >>'$work/calls'; [ ! -e '$work/apt-fails' ] || { rm '$work/apt-fails'; exit 100; }"
stub apt-cache 'exit 0'
stub id "cat '$work/uid'"
install_deps() {
  : >"$work/calls"
  PATH=$work/bin "$work/tree/scripts/install-deps" "$@" >"$work/said" 2>&1
}
# The script appends the admin folders to PATH: its copy does not, or the machine's own sudo would be found in a merged /usr.
mkdir "$work/tree"
cp -R "$CLEANROOM_SOURCE_DIR/scripts" "$work/tree/"
sed -i '/^export PATH=/d' "$work/tree/scripts/lib/common.sh"

echo 0 >"$work/uid"
echo 'ii zstd' >"$work/installed"
install_deps run || fail "as root: $(cat "$work/said")"
grep -q 'apt-get .*install .*--no-install-recommends .*qemu-system-x86' "$work/calls" || fail "QEMU was not asked for"
! grep -q -w zstd "$work/calls" || fail "what is installed was asked for again"
! grep -q update "$work/calls" || fail "the lists were refreshed without need"

# Stale lists: the first try fails, then the lists are refreshed and it is tried once more.
touch "$work/apt-fails"
install_deps run || fail "after a failed try: $(cat "$work/said")"
sequence=$(grep -o -w -e 'install -y' -e update "$work/calls" | tr '\n' ' ')
[ "$sequence" = 'install -y update install -y ' ] || fail "no refresh between two tries: $sequence"

# An ordinary user: sudo, or a message that says what to do.
echo 1000 >"$work/uid"
! install_deps run || fail "without root and sudo it claims success"
grep -q 'hint: as root: apt-get install .*qemu-system-x86' "$work/said" || fail "it said: $(cat "$work/said")"
[ ! -s "$work/calls" ] || fail "apt-get was called without root"
stub sudo "echo \"sudo \$*\" >>'$work/calls'; while [ \"\$1\" = -n ]; do shift; done; exec \"\$@\""
install_deps run || fail "with sudo: $(cat "$work/said")"
grep -q '^sudo .*apt-get' "$work/calls" || fail "sudo was not used"

# Everything there: nothing is called, whoever asks.
packages=$(grep -o 'apt-get .*' "$work/calls" | tail -n 1)
for word in $packages zstd; do printf 'ii %s\n' "$word"; done >"$work/installed"
install_deps run || fail "with everything installed: $(cat "$work/said")"
if [ -s "$work/calls" ] || [ -s "$work/said" ]; then fail "with everything installed it did: $(cat "$work/said")"; fi

! install_deps everything || fail "an unknown group was accepted"
grep -q "unknown group 'everything'" "$work/said" || fail "it said: $(cat "$work/said")"
echo "install-deps asks for what is missing, and only then for root"
