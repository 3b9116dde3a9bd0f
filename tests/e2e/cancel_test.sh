#!/usr/bin/env bash
# FLT-02, FLT-16, FLT-01: signals and kill -9 at the runner; afterwards no VM and no disk is left.
# shellcheck source=tests/e2e/vm_support.bash
source "${CLEANROOM_SOURCE_DIR:?}/tests/e2e/vm_support.bash"

# The job gets the signal and may end in its own way; zero is not among its choices.
# shellcheck disable=SC2016
start /bin/sh -c 'trap "echo caught; exit 7" TERM; echo running; while :; do sleep 1; done'
kill -TERM "$pid"
ended 7
gone "$vm" 10
record 'r["outcome"] == "cancelled" and r["exit_code"] == 7'
nothing_left

start /bin/sh -c 'trap "exit 0" INT; echo running; while :; do sleep 1; done'
kill -INT "$pid"
ended 130
gone "$vm" 10
nothing_left

# A job that ignores signals is ended by a second one, at once.
start /bin/sh -c 'trap "" TERM HUP; echo running; while :; do sleep 1; done'
kill -HUP "$pid"
timeout 20 sh -c "until grep -q 'ending the job' '$work/out'; do :; done" || fail "the first signal was not seen"
kill -TERM "$pid"
ended 129
gone "$vm" 10
nothing_left

# RES-05: and without a second one, by the hard stop within the agent's grace period (9 s by default).
started=$SECONDS
start /bin/sh -c 'trap "" TERM; echo running; while :; do sleep 1; done'
started=$SECONDS
kill -TERM "$pid"
ended 143
[ $((SECONDS - started)) -le 9 ] || fail "the cancelled job took $((SECONDS - started)) s to end"
gone "$vm" 10
nothing_left

# LOG-06: nobody reads our output any more. The job waits, and a cancelled run ends all the same.
start /bin/sh -c 'echo running; exec yes'
started=$SECONDS
kill -TERM "$pid"
ended 143
[ $((SECONDS - started)) -le 9 ] || fail "with a stalled reader the cancelled job took $((SECONDS - started)) s to end"
gone "$vm" 10
nothing_left

# FLT-01: the VM dies with its runner, and the next start sweeps the disks away.
start /bin/sh -c 'echo running; sleep 1000'
kill -KILL "$pid"
ended 137
gone "$vm" 10
[ -n "$(find "$XDG_STATE_HOME" -name work -type d)" ] || fail "this test expects the killed run's disks to be there still"
"$runner" --buildkite-sweep || fail "the sweep failed"
nothing_left

# RLY-08: a job that kills the guest's agent, or the whole guest, loses its job and nothing else; never a success.
in_vm 125 -- /bin/sh -c 'echo b >/proc/sysrq-trigger; sleep 60'
record 'r["reason"] == "agent_lost" and r["outcome"] == "infrastructure"'
# FLT-15: likewise when its kernel panics.
in_vm 125 -- /bin/sh -c 'echo c >/proc/sysrq-trigger; sleep 60'
record 'r["reason"] == "agent_lost"'
nothing_left
