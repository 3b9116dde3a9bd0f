"""The token service of a registry (distribution's auth/token and auth/oauth documents): Basic logins and refresh tokens, signed JWTs.

GET /token?service=&scope=...&account=   Basic login, or nobody (pull of `public` repositories alone)
POST /token                              grant_type=refresh_token or password
Signed with the openssl program: ES256 with the key of the certificate it serves, RS256 with one of its own.
"""
import base64
import http.server
import json
import pathlib
import secrets
import ssl
import subprocess
import threading
import time
import urllib.parse

SECONDS = 30
SIZE = 1 << 16


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True, timeout=SECONDS).stdout


def raw_ecdsa(der):
    """r || s of 32 bytes each (RFC 7518 3.4) from the two DER integers that openssl writes."""
    numbers, at = [], 2
    for _ in range(2):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + length], "big"))
        at += 2 + length
    return b"".join(number.to_bytes(32, "big") for number in numbers)


class TokenServer:
    """`requests`: what was asked, a dict each with method, login (basic, refresh_token, password or None), scopes, status."""

    def __init__(self, folder, certificate, key, logins, algorithm="ES256", field="token", lifetime=300, public=(), address="127.0.0.1"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.service, self.issuer = "registry of a test", "token server of a test"
        self.logins, self.algorithm, self.field, self.lifetime, self.public = logins, algorithm, field, lifetime, public
        self.refresh_tokens = {}  # token: account
        self.requests, self.lock = [], threading.Lock()
        self.signing = (certificate, key) if algorithm == "ES256" else self._rsa()
        self.x5c = ["".join(line for line in pathlib.Path(self.signing[0]).read_text().split("\n") if line and "-----" not in line)]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = http.server.ThreadingHTTPServer((address, 0), self._handler())
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"{address}:{self.server.server_address[1]}"
        self.realm = f"https://{self.host}/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def bundle(self, ca):
        """The authorities that vouch for the keys of tokens."""
        return ca if self.algorithm == "ES256" else self.signing[0]

    def refresh_token(self, account):
        token = "refresh-canary-" + secrets.token_hex(8)
        self.refresh_tokens[token] = account
        return token

    def _rsa(self):
        certificate, key = self.folder / "rsa.pem", self.folder / "rsa-key.pem"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", 30, "-subj", "/CN=tokens")
        return certificate, key

    def sign(self, account, access):
        now = int(time.time())
        head = {"typ": "JWT", "alg": self.algorithm, "x5c": self.x5c}
        claims = {"iss": self.issuer, "sub": account, "aud": self.service, "iat": now, "nbf": now - 10, "exp": now + max(self.lifetime, 60),
                  "jti": secrets.token_hex(8), "access": access}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (head, claims))
        signature = openssl("dgst", "-sha256", "-sign", self.signing[1], data=signed.encode())
        return signed + "." + base64url(raw_ecdsa(signature) if self.algorithm == "ES256" else signature)

    def grant(self, scopes, account):
        """What of the scopes (repository:NAME:ACTION,...) an account gets; nobody may pull what is public."""
        granted = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = set(actions.split(",")) if account else {"pull"} & set(actions.split(",")) if name in self.public else set()
            if kind == "repository" and allowed:
                granted.append({"type": kind, "name": name, "actions": sorted(allowed)})
        return granted

    def answer(self, method, query, authorization):
        """(status, document) of one request."""
        fields = urllib.parse.parse_qs(query)
        scopes = [scope for scope in " ".join(fields.get("scope", [])).split(" ") if scope]
        one = lambda name: fields.get(name, [""])[0]
        account, login, fine = "", None, True
        if method == "POST":
            login = one("grant_type")
            account = self.refresh_tokens.get(one("refresh_token"), "") if login == "refresh_token" else one("username")
            fine = bool(account) and (login == "refresh_token" or self.logins.get(account) == one("password")) and bool(one("client_id"))
        elif authorization:
            login = "basic"
            account, _, password = base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")
            fine = authorization.startswith("Basic ") and self.logins.get(account) == password
        status = 200 if fine and one("service") == self.service else 401 if not fine else 400
        with self.lock:
            self.requests.append({"method": method, "login": login, "scopes": scopes, "status": status})
        if status != 200:
            return status, {"errors": [{"code": "UNAUTHORIZED", "message": "no such login"}]}
        token = self.sign(account, self.grant(scopes, account))
        told = {"expires_in": self.lifetime, "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        # An OAuth2 answer (POST) has access_token alone; a GET may have either.
        told["access_token" if method == "POST" else self.field] = token
        return status, told

    def _handler(self):
        tokens = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = SECONDS

            def log_message(self, *_):
                pass

            def _answer(self, query):
                status, document = tokens.answer(self.command, query, self.headers.get("Authorization", ""))
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self._answer(self.path.partition("?")[2])

            def do_POST(self):
                self._answer(self.rfile.read(min(int(self.headers.get("Content-Length", "0")), SIZE)).decode())

        return Handler
