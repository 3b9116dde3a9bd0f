#!/bin/sh
# run.sh TEST... CSVSTAT: runs the test programs, then csvstat on the sample; shows it all and keeps it in build/report.txt.
set -u
report=build/report.txt
failed=0
: >"$report"
note() { printf '%s\n' "$1" | tee -a "$report"; }
check() {
  output=$("$@" 2>&1) || failed=1
  note "$output"
}
note "hello-c on $(uname -m), $(cc --version | head -n 1)"
for program; do
  case $program in
    *_test) check "$program" ;;
    *) check "$program" tests/sample.csv ;;
  esac
done
if [ "$failed" = 0 ]; then note "result: passed"; else note "result: FAILED"; fi
exit "$failed"
