"""One HTTP/1.1 connection at the level of bytes: what arrived is kept as it was, what is sent may be wrong on purpose."""
import hashlib
import select
import socket
import struct

MAX_HEAD = 64 * 1024
MAX_LINE = 16 * 1024
MAX_BODY = 4 << 30
CHUNK = 64 * 1024


class Closed(Exception):
    """The peer has ended, or sent what is no HTTP."""


class Connection:
    def __init__(self, sock, deadline):
        self.sock = sock
        self.pending = b""
        self.deadline = deadline
        sock.settimeout(deadline)

    def fill(self):
        data = self.sock.recv(CHUNK)
        if not data:
            raise Closed("end of the stream")
        self.pending += data

    def until(self, mark, limit):
        while mark not in self.pending:
            if len(self.pending) > limit:
                raise Closed("too long")
            self.fill()
        found, _, self.pending = self.pending.partition(mark)
        return found + mark

    def some(self, limit):
        if not self.pending:
            self.fill()
        found, self.pending = self.pending[:limit], self.pending[limit:]
        return found

    def send(self, data):
        self.sock.sendall(data)

    def pause(self, seconds):
        """Waits, but not for a peer that has gone."""
        if self.pending:
            raise Closed("more came")
        if select.select([self.sock], [], [], seconds)[0]:
            self.fill()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise Closed("reset by us")


class Request:
    """Raises Closed at the end of the connection. `raw` is the head exactly as it came."""

    def __init__(self, connection):
        self.connection = connection
        self.raw = connection.until(b"\r\n\r\n", MAX_HEAD)
        lines = self.raw.decode("latin-1").split("\r\n")[:-2]
        words = lines[0].split(" ")
        if len(words) != 3:
            raise Closed("no request line")
        self.method, self.target, self.version = words
        self.headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        self.path, _, self.query = self.target.partition("?")
        self.digest, self.size, self.start = hashlib.sha256(), 0, b""
        self._body = self._read_body()
        self.continued = False

    def get(self, name, default=""):
        return next((value for key, value in self.headers if key == name), default)

    def body(self):
        """An iterator over the rest of the body, unchunked; sends 100 Continue where the client waits for it."""
        if not self.continued and self.get("expect").lower() == "100-continue":
            self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.continued = True
        return self._body

    def drain(self):
        for _ in self.body():
            pass

    def _read_body(self):
        if self.get("transfer-encoding").lower() == "chunked":
            while (size := int(self.connection.until(b"\r\n", MAX_LINE).split(b";")[0], 16)) > 0:
                yield from self._exactly(size)
                self.connection.until(b"\r\n", 2)
            while self.connection.until(b"\r\n", MAX_LINE) != b"\r\n":
                pass
        else:
            yield from self._exactly(int(self.get("content-length", "0")))

    def _exactly(self, size):
        while size > 0:
            data = self.connection.some(min(size, CHUNK))
            size -= len(data)
            self.digest.update(data)
            self.size += len(data)
            if self.size > MAX_BODY:
                raise Closed("body too long")
            if len(self.start) < CHUNK:
                self.start += data[:CHUNK - len(self.start)]
            yield data


def head(status, headers, reason="Farm"):
    lines = [f"HTTP/1.1 {status} {reason}"] + [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def respond(request, status, body=b"", headers=()):
    """A whole and correct answer. The request's body is read first, so that the connection can go on."""
    request.drain()
    fields = [("Content-Length", str(len(body))), *headers]
    request.connection.send(head(status, fields) + (b"" if request.method == "HEAD" else body))
