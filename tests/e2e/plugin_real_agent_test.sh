#!/bin/bash
# The cases of plugin_bootstrap_test.bats and plugin_vm_test.bats through a real `buildkite-agent bootstrap`, where there is one.
set -euo pipefail

agent=${BUILDKITE_AGENT_BIN:-$(command -v buildkite-agent || true)}
if [[ -z $agent ]]; then
  echo "skip: needs BUILDKITE_AGENT_BIN, the path of a buildkite-agent (there is none in PATH)"
  exit 77
fi
[[ -x $agent ]] || {
  echo "plugin_real_agent_test: BUILDKITE_AGENT_BIN='$agent' is no program" >&2
  exit 1
}
echo "agent: $("$agent" --version)"
folder=$(dirname "$0")
BOOTSTRAP=$(realpath "$agent") exec bats --tap --filter-tags '!own' "$folder/plugin_bootstrap_test.bats" \
  "$folder/plugin_agent_api_test.bats" "$folder/plugin_vm_test.bats"
