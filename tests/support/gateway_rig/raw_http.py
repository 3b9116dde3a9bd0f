"""A guest that writes bytes of its own through a rig's SOCKS port, and a strict reader of what comes back."""
import contextlib
import socket
import struct
import threading

GATEWAY = "gateway.cleanroom.internal"
HOST = f"Host: {GATEWAY}\r\n".encode()
LIMIT = 40


class Answer:
    """One answer; `whole` is false when its body ended before its framing says so."""

    def __init__(self, status, fields, body, whole):
        self.status, self.fields, self.body, self.whole = status, fields, body, whole

    def __repr__(self):
        return f"<{self.status} {self.fields.get('cleanroom-reason', '')} {self.body[:60]!r} whole={self.whole}>"


def _chunks(data):
    """(body, rest) or None when it is not all there."""
    body = b""
    while True:
        line, mark, data = data.partition(b"\r\n")
        if not mark:
            return None
        size = int(line, 16)
        if len(data) < size + 2:
            return None
        if size == 0:
            assert data.startswith(b"\r\n"), data[:100]
            return body, data[2:]
        assert data[size:size + 2] == b"\r\n", data[:100]
        body, data = body + data[:size], data[size + 2:]


def parse_answers(data, ended):
    """The answers in `data`. `ended`: the tunnel ended in good order, which is what ends a body without a length."""
    answers = []
    while data:
        head, mark, data = data.partition(b"\r\n\r\n")
        if not mark:
            return answers + [Answer(0, {}, head, False)]
        lines = head.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines[0]
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split()[1])
        if status < 200:
            continue
        if fields.get("transfer-encoding") == "chunked":
            cut = _chunks(data)
            body, data, whole = (*cut, True) if cut else (data, b"", False)
        elif "content-length" in fields:
            size = int(fields["content-length"])
            body, data, whole = data[:size], data[size:], len(data) >= size
        else:
            body, data, whole = data, b"", ended
        answers.append(Answer(status, fields, body, whole))
    return answers


class Tunnel:
    """A connection to the gateway as a program in the guest has it. `reset`: its end was no orderly one."""

    def __init__(self, rig, host=GATEWAY, port=80, limit=LIMIT):
        self.sock = socket.create_connection(("127.0.0.1", int(rig.proxy.rsplit(":", 1)[1])), timeout=limit)
        self.sock.sendall(b"\x05\x01\x00")
        assert self._exactly(2) == b"\x05\x00"
        self.sock.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + struct.pack(">H", port))
        assert self._exactly(10)[1] == 0, "the tunnel was refused"
        self.received = b""
        self.reset = False

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, "the tunnel ended early"
            data += more
        return data

    def _some(self):
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            self.reset = True
            return False
        self.received += data
        return bool(data)

    def send(self, data):
        """False when the other side has ended meanwhile."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def send_aside(self, pieces):
        """Sends an iterable of pieces while the caller reads; returns the thread."""
        def run():
            with contextlib.suppress(OSError):
                for piece in pieces:
                    if not self.send(piece):
                        return
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def finish(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def answers(self):
        """All answers up to the end of the tunnel."""
        while self._some():
            pass
        return parse_answers(self.received, not self.reset)

    def answer(self):
        """The next answer, or what there is of it when the tunnel ends."""
        while True:
            found = parse_answers(self.received, False)
            if found and found[0].whole:
                framed = "content-length" in found[0].fields or "transfer-encoding" in found[0].fields
                if framed:
                    self.received = b""
                    return found[0]
            if not self._some():
                found = parse_answers(self.received, not self.reset)
                return found[0] if found else None

    def abort(self):
        """As a program does that is killed with unread data: a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def exchange(rig, data):
    """Everything in one write, then the guest's end; the answers."""
    with Tunnel(rig) as tunnel:
        tunnel.send_aside([data]).join(LIMIT)
        tunnel.finish()
        return tunnel.answers()
