# Sourced first by a test that wants addresses and files of its own: runs the calling script again in a network and mount namespace.
# shellcheck shell=bash
if [ -z "${OWN_NETWORK:-}" ]; then
  for flags in -nm -rnm; do
    if unshare "$flags" true 2>/dev/null; then OWN_NETWORK=1 exec unshare "$flags" --kill-child --fork -- "$0" "$@"; fi
  done
  echo "skip: needs root"
  exit 77
fi
