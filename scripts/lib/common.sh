# shellcheck shell=bash
# What every script here shares: strict mode, the root of the tree, messages, XDG folders. Sourced, never run.
set -euo pipefail
export LC_ALL=C.UTF-8

# shellcheck disable=SC2034  # used by those that source this
CLEANROOM_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PROGRAM=${0##*/}

say() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; }
die() {
  printf '%s: error: %s\n' "$PROGRAM" "$1" >&2
  if [ $# -gt 1 ]; then printf '%s: hint: %s\n' "$PROGRAM" "$2" >&2; fi
  exit 1
}

# usage_from_header FILE: the comment block at the top of a script is its help text.
usage_from_header() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$1"; }

# timed WHAT COMMAND...: runs it and says how long it took.
timed() {
  local what=$1 started=$SECONDS
  shift
  "$@"
  say "$what: $((SECONDS - started)) s"
}

xdg_cache() { printf '%s/cleanroom\n' "${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}"; }
xdg_data() { printf '%s/cleanroom\n' "${XDG_DATA_HOME:-${HOME:?HOME is not set}/.local/share}"; }

# A machine may keep the admin tools off an ordinary user's PATH (Debian does).
export PATH=$PATH:/usr/sbin:/sbin

# make_scratch: a folder in $scratch that goes when the script ends, however it ends, with the jobs still running.
make_scratch() {
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/cleanroom-$PROGRAM.XXXXXX")
  trap 'clean_scratch' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}
clean_scratch() {
  local pid
  for pid in $(jobs -p); do kill -- "-$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}

# The kernel and the demo image come over the network while the compiler has the processors: start_guest_parts before a
# build, await_guest_parts after it. More scripts of that kind, relative to the root, may be given.
start_guest_parts() {
  local part
  guest_parts=(scripts/prepare-kernel scripts/make-base-image "$@")
  guest_jobs=()
  set -m  # each job leads a process group, so that clean_scratch ends its children too
  for part in "${guest_parts[@]}"; do
    "$CLEANROOM_ROOT/$part" >"$scratch/${part##*/}" 2>&1 &
    guest_jobs+=($!)
  done
  set +m
}
await_guest_parts() {
  local i log
  for i in "${!guest_jobs[@]}"; do
    log=$scratch/${guest_parts[i]##*/}
    wait "${guest_jobs[i]}" || { cat "$log" >&2; die "'${guest_parts[i]}' failed"; }
    cat "$log" >&2
  done
}
