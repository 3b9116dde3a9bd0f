"""What the servers of the rig share: a thread for each connection and a log of all requests. And two small ones: BlobHost, ConnectProxy."""
import pathlib
import re
import select
import socket
import ssl
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "farm"))
from exchange import CHUNK, Closed, Connection, Request, head, respond  # noqa: E402

IO_SECONDS = 60
TLS_HANDSHAKE = b"\x16"  # the first byte of a ClientHello (RFC 8446, 5.1)


class Server:
    """Listens on `address` at once, with TLS given (certificate, key). `host`: HOST:PORT. Subclasses have answer().

    `requests`: a dict for each, in order of arrival: method, path, query, range, headers (lower-case names), connection (a number),
    status and sent (bytes of body so far).
    """

    def __init__(self, address="127.0.0.1", certificate=None):
        self.lock = threading.Lock()
        self.arrived = threading.Condition(self.lock)
        self.requests, self.connections, self.open_now, self.most_open = [], 0, 0, 0
        self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*certificate)
            self.tls.set_alpn_protocols(["http/1.1"])
        self.socket = socket.create_server((address, 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        self.host = f"{address}:{self.port}"
        self.scheme = "https" if certificate else "http"
        self.closing = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        if self.closing.is_set():
            return
        self.closing.set()
        # shutdown wakes accept(); close alone does not.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def mark(self):
        """How many requests there were: for seen(since=...)."""
        with self.lock:
            return len(self.requests)

    def seen(self, pattern="", method=None, since=0):
        """Requests whose path has `pattern` in it (a regular expression)."""
        with self.lock:
            return [one for one in self.requests[since:] if re.search(pattern, one["path"]) and method in (None, one["method"])]

    def await_seen(self, pattern, count=1, since=0, seconds=IO_SECONDS):
        """Whether so many such requests arrive in time."""
        with self.arrived:
            return self.arrived.wait_for(lambda: sum(1 for one in self.requests[since:] if re.search(pattern, one["path"])) >= count, seconds)

    def sent(self, pattern="", since=0):
        """Bytes of bodies of GET answers."""
        return sum(one["sent"] for one in self.seen(pattern, "GET", since))

    def _serve(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock):
        with self.lock:
            self.connections += 1
            number = self.connections
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
        try:
            sock.settimeout(IO_SECONDS)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            elif sock.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE:
                # As nginx and Apache: no request is read of it. A server that waits for the rest of a line is one more that stands still.
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                return
            connection, going = Connection(sock, IO_SECONDS), True
            while going and not self.closing.is_set():
                request = Request(connection)
                going = self.answer(request, self._note(request, number)) and request.get("connection").lower() != "close"
        except (Closed, OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.open_now -= 1
            sock.close()

    def _note(self, request, number):
        one = {"method": request.method, "path": request.path, "query": request.query, "range": request.get("range") or None,
               "headers": dict(request.headers), "connection": number, "status": None, "sent": 0}
        with self.lock:
            self.requests.append(one)
            self.arrived.notify_all()
        return one

    def answer(self, request, one):
        """Answers; True when the connection may go on."""
        raise NotImplementedError


class BlobHost(Server):
    """Another origin for blobs: GET /blob/HEX from the storage of a registry, with Range."""

    def __init__(self, registry, address, certificate):
        self.root = registry.folder / "data/docker/registry/v2/blobs/sha256"
        super().__init__(address, certificate)

    def answer(self, request, one):
        found = re.fullmatch(r"/blob/([0-9a-f]{64})", request.path)
        file = self.root / found[1][:2] / found[1] / "data" if found else None
        if file is None or not file.is_file():
            one["status"] = 404
            respond(request, 404)
            return True
        request.drain()
        size = file.stat().st_size
        first, last, fields = 0, size - 1, [("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes")]
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", one["range"] or ""):
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            fields.append(("Content-Range", f"bytes {first}-{last}/{size}"))
        one["status"] = 206 if asked else 200
        request.connection.send(head(one["status"], fields + [("Content-Length", last - first + 1)]))
        with file.open("rb") as data:
            data.seek(first)
            left = last - first + 1
            while left > 0 and request.method != "HEAD":
                part = data.read(min(left, CHUNK))
                request.connection.send(part)
                left -= len(part)
                one["sent"] += len(part)
        return True


class ConnectProxy(Server):
    """A proxy of the host: CONNECT, and absolute GETs for plain HTTP are refused. Counts by `requests`; path is HOST:PORT."""

    def answer(self, request, one):
        if request.method != "CONNECT":
            one["status"] = 405
            respond(request, 405)
            return True
        address, _, port = request.target.rpartition(":")
        with socket.create_connection((address.strip("[]"), int(port)), IO_SECONDS) as far:
            one["status"] = 200
            request.connection.send(head(200, []))
            near = request.connection.sock
            if request.connection.pending:
                far.sendall(request.connection.pending)
            while True:
                ready = select.select([near, far], [], [], IO_SECONDS)[0]
                for side in ready:
                    data = side.recv(CHUNK)
                    if not data:
                        return False
                    (far if side is near else near).sendall(data)
                if not ready:
                    return False
