# The runs that the rows look at: one job, started cold and twice from one template. Each start's output, times and record are
# kept in $work/seen/<start>; see() makes one of them what vm_support.bash's expect, refuse and record look at.
# shellcheck shell=bash disable=SC2154 # who sources this has vm_support.bash
starts=(cold restored again)
memory_mib=384
vcpus=2
payload_bytes=6300000 # 8.4 MB as base64
address=10.99.0.1
other_address=10.99.0.2 # the server is there, too
token=conformance-$RANDOM$RANDOM

# A network with one server, a checkout with a large random file, a data directory whose templates are this suite's own.
prepare() {
  ip link set lo up
  ip address add $address/32 dev lo
  ip address add $other_address/32 dev lo
  printf '127.0.0.1 localhost\n%s allowed.example.com\n' $address >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts
  printf 'network: {private_cidrs: [10.99.0.0/24]}\n' >"$work/config/ceiling.yaml"
  policy "{host: allowed.example.com, ports: [80]}, {host: $address, ports: [80]}" # a private address needs a rule of its own
  head -c $payload_bytes /dev/urandom >"$work/checkout/payload"
  printf 'this is for nobody\n' >"$work/stdin"
  write_job >"$work/checkout/job.sh"
  # shellcheck disable=SC2034 # of vm_support.bash
  run_options=(--memory "$memory_mib" --vcpus "$vcpus")

  mkdir -p "$work/data/cleanroom" "$data_home/cleanroom/images" "$work/seen" "$work/tmp"
  ln -s "$data_home/cleanroom/kernels" "$data_home/cleanroom/images" "$work/data/cleanroom/"
  export XDG_DATA_HOME=$work/data TMPDIR=$work/tmp
  start_server
}

# Says the token and its clock to whoever asks; $work/requests gets a line for each.
start_server() {
  mkfifo "$work/ready"
  python3 - "$token" >"$work/ready" 2>"$work/requests" <<'PY' &
import http.server, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{sys.argv[1]} {time.time()}".encode())

server = http.server.HTTPServer(("", 80), Handler)
print("ready", flush=True)
server.serve_forever()
PY
  server=$!
  trap 'kill $server; finish' EXIT
  read -r -t 30 line <"$work/ready" || line='(nothing)'
  [ "$line" = ready ] || { echo "Bail out! no server: $line"; exit 1; }
}

# One job that says everything. The clock is read before and after the host says its own: however slow the host is, its time lies between.
write_job() {
  cat <<'EOS'
echo running
echo "cpus $(nproc)"
echo "memory $(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
echo "stdin $(wc -c)"
for name in /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id /etc/machine-id; do echo "identity $(cat $name)"; done
echo "identity $(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')"
echo "payload $(sha256sum <payload | cut -d' ' -f1)"
before=$(date +%s.%N)
answer=$(curl -sS --max-time 60 http://allowed.example.com/)
echo "clock $before $answer $(date +%s.%N)"
curl -sS --max-time 60 http://denied.example.com/ && echo "a name that no rule names passed"
curl -sS --max-time 60 "http://$1/" && echo "an address that no rule names passed"
echo "to stderr" >&2
mkdir -p out/deep && cp payload "out/deep/a copy"
echo "--- payload"
base64 -w 120 payload
exit 42
EOS
}

# Those that are below a process now, of all depths.
descendants() {
  local child
  for child in $(pgrep -P "$1"); do
    echo "$child"
    descendants "$child"
  done
}

# observe NAME: the job above; its exit status, output and the processes that it had.
observe() {
  local seen=$work/seen/$1 status=0 begun=$SECONDS
  mkdir "$seen"
  rm -rf "$work/checkout/out" "$work/stream" && mkfifo "$work/stream"
  timeout -k 5 "$vm_seconds" "$runner" --checkout "$work/checkout" --image "$demo_image" "${run_options[@]}" \
    --output 'out/**' --result "$seen/run.json" -- /bin/sh job.sh $other_address >"$work/stream" 2>"$seen/err" <"$work/stdin" &
  pid=$!
  exec {from}<"$work/stream"
  read -r -t "$vm_seconds" line <&"$from" || line='(nothing)'
  echo "$line" >"$seen/first"
  descendants $pid >"$seen/processes"
  cat <&"$from" >"$seen/out"
  wait $pid || status=$?
  exec {from}<&-
  echo $status >"$seen/status"
  [ ! -e "$work/checkout/out" ] || mv "$work/checkout/out" "$seen/output"
  echo "# $1: $((SECONDS - begun)) s"
}

# see NAME: expect and refuse are about this run from now on, and so is told(); $seen has the rest of it.
see() {
  seen=$work/seen/$1
  sed '/^--- payload$/q' "$seen/out" | cat "$seen/err" - >"$work/out"
}
# told EXPRESSION: as record(), of the run that is seen.
told() { record_of "$seen/run.json" "$1"; }
# all_starts FUNCTION: for each start.
all_starts() {
  local start
  for start in "${starts[@]}"; do
    see "$start"
    "$1" || fail "$1: the $start VM"
  done
}

# The template is made apart: on a host where a VM may hang at boot (tests/kvm_host) the first attempt may start cold.
observe_all() {
  printf 'templates: {enable: false}\n' >>"$work/config/config.yaml"
  observe cold
  # shellcheck disable=SC2119
  operator_config
  local attempt
  for attempt in 1 2 3; do
    in_vm 0 -- /bin/true >"$work/warm-up.$attempt" 2>&1
    [ -z "$(find "$work/data/cleanroom/templates" -name manifest.json -print -quit 2>/dev/null)" ] || break
  done
  cp "$(last_run)/run.json" "$work/made.json"
  observe restored
  observe again
}
