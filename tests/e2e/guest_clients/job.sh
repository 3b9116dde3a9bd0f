# shellcheck shell=sh
# What runs in the guest: each client once, one line `NAME: RESULT` each. The farm's certificate authority stands in for the public
# ones, as any operator of a test server would install it; nothing in here is Cleanroom's.
seconds() { cut -d. -f1 /proc/uptime; }
# client NAME COMMAND...: the last line it prints, and how long it took.
client() {
  name=$1 begun=$(seconds)
  shift
  timeout 120 "$@" >/tmp/said 2>&1 </dev/null
  status=$?
  echo "$name: $(tail -n 1 /tmp/said | cut -c1-300)"
  took=$(($(seconds) - begun))
  echo "  ($name: status $status, $took s)"
  [ $status = 0 ] || sed 's/^/  | /' /tmp/said | tail -n 15
}
env | grep -i proxy && echo "a proxy variable"
cat ca.pem >>/etc/ssl/certs/ca-certificates.crt
cp ca.pem "/etc/ssl/certs/$(cat ca.hash).0"
W=web.example.com

echo "--- resolvers"
client resolve-glibc ./probe-glibc resolve $W
client resolve-musl ./probe-musl resolve $W
client resolve-localhost sh -c './probe-glibc resolve localhost | sort | tr "\n" " "'
client resolve-localhost-musl sh -c './probe-musl resolve localhost | sort | tr "\n" " "'
client resolve-tcp python3 dns_tcp.py $W
client refused-tcp python3 dns_tcp.py $W refused.example.net

echo "--- clients"
client get-glibc ./probe-glibc get $W 80 /f/hello
client get-musl ./probe-musl get $W 80 /f/hello
client curl-http curl -sS http://$W/f/hello
client curl-https curl -sS https://$W/f/hello
client wget-http wget -qO- http://$W/f/hello
client wget-https wget -qO- https://$W/f/hello
client busybox-http busybox wget -qO- http://$W/f/hello
client python-https python3 -c "import urllib.request as u; print(u.urlopen('https://$W/f/hello').read().decode().strip())"
client go-static ./probe-go-static http://$W/f/hello https://$W/f/hello
client go-own-resolver env GODEBUG=netdns=go ./probe-go-cgo https://$W/f/hello
client go-cgo-resolver env GODEBUG=netdns=cgo ./probe-go-cgo https://$W/f/hello
client java-https sh -c "keytool -J-XX:TieredStopAtLevel=1 -J-Xshare:auto -printcert -sslserver $W:443 | grep -m 1 CN="
client java-http sh -c "keytool -J-XX:TieredStopAtLevel=1 -printcrl -file http://$W/f/hello 2>&1 | tail -n 1"
client node-https node -e "fetch('https://$W/f/hello').then(r => r.text()).then(t => console.log(t.trim()))"
client large sh -c "curl -sS https://$W/f/large | sha256sum"

echo "--- package managers"
client git sh -c "git clone -q https://git.example.com/repo.git /tmp/clone && cat /tmp/clone/hello"
rm -rf /etc/apt/sources.list.d/* /etc/apt/sources.list
echo "deb [trusted=yes] http://deb.example.com/debian ./" >/etc/apt/sources.list
client apt sh -c "apt-get update && apt-get install -y tinypkg && tinypkg"
client pip sh -c "pip install --break-system-packages --index-url https://pypi.example.com/simple tinypkg && python3 -c 'import tinypkg'"
mkdir /tmp/project
client npm sh -c "cd /tmp/project && npm install --registry https://npm.example.com --no-audit --no-fund --no-update-notifier tinypkg && node -e 'require(\"tinypkg\")'"

echo "--- localhost"
mkfifo /tmp/port
for address in 127.0.0.1 ::1; do
  python3 -c "
import http.server, socket
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6 if ':' in '$address' else socket.AF_INET
server = Server(('$address', 0), http.server.SimpleHTTPRequestHandler)
server.timeout = 60
print(server.server_address[1], flush=True)
server.handle_request()" >/tmp/port 2>/dev/null &
  read -r port </tmp/port
  client "localhost-$address" curl -sS "http://localhost:$port/hello-local"
  wait
done

echo "--- refused at once"
# refused NAME COMMAND...: fails, and long before its own limit.
refused() {
  name=$1 begun=$(seconds)
  shift
  timeout 60 "$@" >/tmp/said 2>&1 </dev/null && echo "refused-$name: passed"
  took=$(($(seconds) - begun))
  if [ $took -le "$LIMIT" ]; then echo "refused-$name: at once"; else echo "refused-$name: after $took s"; sed 's/^/  | /' /tmp/said; fi
}
LIMIT=4 # a resolver that gets no answer waits for five seconds
refused curl curl -sS --max-time 30 https://refused.example.net/
refused wget wget -q --timeout=30 --tries=1 -O- http://refused.example.net/
refused glibc ./probe-glibc get refused.example.net 80 /
refused musl ./probe-musl get refused.example.net 80 /
refused go ./probe-go-static https://refused.example.net/
refused port curl -sS --max-time 30 http://$W:8080/
