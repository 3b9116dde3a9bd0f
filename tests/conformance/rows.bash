# The rows of the table in docs/backends.md, in its order, and the test of each: the function named so, with underscores.
# shellcheck shell=bash disable=SC2034,SC2154,SC2317
rows=(
  "cold start"
  "template made by the first run"
  "template start"
  "backend and accelerator in run json"
  "exit status of the job"
  "8 MiB of output exact"
  "standard error apart"
  "standard input closed"
  "workspace in"
  "artefacts out"
  "allowed network"
  "denied network"
  "clock within a second"
  "entropy and identity of its own"
  "memory as asked"
  "virtual CPUs as asked"
  "cancelled job ends in its own way"
  "hard stop of a job that ignores signals"
  "killed VMM is an infrastructure failure"
  "killed runner takes its VM along"
  "no process left"
  "no socket and no file left"
)

says() { grep -qE -- "$1" "$seen/out"; }
# value WORD [N]: what the job said after that word, the N-th field of it.
value() { sed -n "s/^$1 //p" "$seen/out" | cut -d' ' -f"${2:-1}"; }
is() { [ "$2" = "$3" ] || fail "$1: '$2', not '$3'"; }

cold_start() {
  see cold
  told 'r["start"] == "cold" and r["template"] == "" and r["boot_ms"] > 0'
}
template_made_by_the_first_run() { record_of "$work/made.json" 'r["start"] == "template" and r["template_made"] and r["template_ms"] > 0'; }
template_start() {
  local start
  for start in restored again; do
    see $start
    told 'r["start"] == "template" and not r["template_made"] and r["restore_ms"] > 0 and "boot_ms" not in r'
    told "r['template'] == json.load(open('$work/made.json'))['template']"
  done
}

named_backend() { told "r['backend'] == '$backend' and r['accel'] in ('kvm', 'tcg') and r['hardware_isolation'] == (r['accel'] == 'kvm') and len(r['isolation']) == 13"; }
backend_and_accelerator_in_run_json() { all_starts named_backend; }

own_status() {
  is status "$(cat "$seen/status")" 42
  told 'r["exit_code"] == 42 and r["job_status"] == 42 and r["outcome"] == "failed" and r["reason"] == "job_failed"'
}
exit_status_of_the_job() { all_starts own_status; }

# What comes after the marker, to the last byte.
exact_output() { sed '1,/^--- payload$/d' "$seen/out" | cmp - <(base64 -w 120 "$work/checkout/payload"); }
8_MiB_of_output_exact() { all_starts exact_output; }
streams_apart() {
  is "first line" "$(cat "$seen/first")" running
  grep -qx 'to stderr' "$seen/err" && ! says '^to stderr$' && ! grep -q '^cleanroom: ' "$seen/out"
}
standard_error_apart() { all_starts streams_apart; }
# The runner's own has a line to read.
no_input() { is "bytes read" "$(value stdin)" 0; }
standard_input_closed() { all_starts no_input; }

same_payload() { is digest "$(value payload)" "$(sha256sum <"$work/checkout/payload" | cut -d' ' -f1)"; }
workspace_in() { all_starts same_payload; }
one_artefact() {
  cmp "$seen/output/deep/a copy" "$work/checkout/payload"
  told "r['output_files'] == 1 and r['output_bytes'] == $payload_bytes and not r['outputs_rejected']"
}
artefacts_out() { all_starts one_artefact; }

heard_the_server() {
  is token "$(value clock 2)" "$token"
  told 'any(e["host"] == "allowed.example.com" and e["port"] == 80 and e["allowed"] == 1 for e in r["network"])'
}
allowed_network() {
  all_starts heard_the_server
  is "requests that reached the server" "$(grep -c '"GET / ' "$work/requests")" ${#starts[@]}
}
refused_both() {
  refuse 'that no rule names passed'
  expect 'blocked denied.example.com \(host_not_allowed\)'
  told "any(e['host'] == 'denied.example.com' and e['denied'] == 1 and e['allowed'] == 0 for e in r['network'])"
}
denied_network() { all_starts refused_both; }

# WRM-04.
clock_agrees() {
  python3 -c 'import sys; before, host, after = map(float, sys.argv[1:]); sys.exit(not before - 1 <= host <= after + 1)' \
    "$(value clock 1)" "$(value clock 3)" "$(value clock 4)"
}
clock_within_a_second() { all_starts clock_agrees; }
# WRM-01, WRM-02: of three VMs, two of them restored from one template.
entropy_and_identity_of_its_own() {
  local identities
  identities=$(for start in "${starts[@]}"; do see "$start" && value identity; done)
  is "identities" "$(wc -l <<<"$identities")" $((4 * ${#starts[@]}))
  is "identities of two" "$(sort <<<"$identities" | uniq -d)" ""
}

# The kernel keeps some for itself.
has_its_memory() { (($(value memory) > memory_mib * 1024 * 8 / 10 && $(value memory) <= memory_mib * 1024)); }
memory_as_asked() { all_starts has_its_memory; }
has_its_cpus() { is CPUs "$(value cpus)" "$vcpus"; }
virtual_CPUs_as_asked() { all_starts has_its_cpus; }

cancelled_job_ends_in_its_own_way() {
  start /bin/sh -c 'trap "echo caught; exit 7" TERM; echo running; while :; do sleep 1; done'
  kill -TERM "$pid"
  ended 7
  gone "$vm" 10
  record 'r["outcome"] == "cancelled" and r["exit_code"] == 7'
}
hard_stop_of_a_job_that_ignores_signals() {
  start /bin/sh -c 'trap "" TERM; echo running; while :; do sleep 1; done'
  kill -TERM "$pid"
  timeout 20 sh -c "until grep -q 'ending the job' '$work/out'; do :; done" || fail "the first signal was not seen"
  kill -TERM "$pid"
  ended 143
  gone "$vm" 10
}
# FLT-01: on either side; the disks of a killed runner go with the next sweep.
killed_VMM_is_an_infrastructure_failure() {
  start /bin/sh -c 'echo running; sleep 1000'
  kill -KILL "$vm"
  ended 125
  record 'r["reason"] == "agent_lost" and r["outcome"] == "infrastructure"'
  record 'r["message"].endswith("its VMM ended: signal 9 (Killed)")'
  nothing_left
}
killed_runner_takes_its_VM_along() {
  start /bin/sh -c 'echo running; sleep 1000'
  kill -KILL "$pid"
  ended 137
  gone "$vm" 10
  "$runner" --buildkite-sweep || fail "the sweep failed"
  nothing_left
}

processes_gone() {
  local process
  [ -s "$seen/processes" ] || fail "the run had no process"
  while read -r process; do
    ! kill -0 "$process" 2>/dev/null || fail "process $process is still there: $(tr '\0' ' ' <"/proc/$process/cmdline")"
  done <"$seen/processes"
}
no_process_left() { all_starts processes_gone; }
no_socket_and_no_file_left() {
  nothing_left
  is "files in TMPDIR" "$(find "$work/tmp" -mindepth 1)" ""
  is "sockets" "$(find "$work/state" "$work/data/cleanroom/templates" -type s)" ""
  is "names of sockets" "$(grep -F "$work" /proc/net/unix || true)" ""
  is "templates in the making" "$(find "$work/data/cleanroom/templates" -name '.*' -mindepth 1)" ""
}
