# shellcheck shell=bash
# A copy of the plugin with a runner of our own in bin/, which writes down how it was called: argv and environment,
# NUL-separated, byte for byte.
source_dir="" sandbox="" plugin=""

load_plugin() {
  source_dir="${CLEANROOM_SOURCE_DIR:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}"
  sandbox=$(mktemp -d)
  plugin="$sandbox/plugin with space"
  mkdir -p "$plugin" "$sandbox/checkout"
  cp -R "$source_dir/hooks" "$source_dir/lib" "$source_dir/plugin.yml" "$plugin/"
  export BUILDKITE_BUILD_CHECKOUT_PATH="$sandbox/checkout"
  unset BUILDKITE_NO_LOCAL_HOOKS
  if [[ -e /etc/cleanroom/plugin.conf ]]; then
    fail "/etc/cleanroom/plugin.conf of this host overrides what the tests set"
  fi
}

unload_plugin() {
  rm -rf "$sandbox"
}

# stub_runner [EXIT_STATUS]: no runner but this one. It records into $sandbox/calls.
stub_runner() {
  mkdir -p "$plugin/bin"
  cat >"$plugin/bin/cleanroom-run" <<STUB
#!/usr/bin/python3
import os, sys
with open("$sandbox/calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\n")
with open("$sandbox/env", "wb") as env:
    for name, value in os.environb.items():
        env.write(name + b"=" + value + b"\0")
with open("$sandbox/pid", "w") as pid:
    pid.write(str(os.getpid()))
sys.exit(${1:-0})
STUB
  chmod +x "$plugin/bin/cleanroom-run"
}

# runner_env NAME: prints the value the runner saw, exactly; fails when it was not there.
runner_env() {
  python3 - "$sandbox/env" "$1" <<'PY'
import sys
for entry in open(sys.argv[1], "rb").read().split(b"\0"):
    name, _, value = entry.partition(b"=")
    if name == sys.argv[2].encode():
        sys.stdout.buffer.write(value)
        sys.exit(0)
sys.exit(1)
PY
}
