#!/usr/bin/env python3
"""The network stream's HTTP/2 server against nghttp2's own client tools, which stand where a guest's agent does.

usage: CLEANROOM_BIN_DIR=build/dev/bin h2_tools_test.py [-v] [TestClass.test_name]
"""
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support/gateway_rig"))
from gateway_rig import Rig  # noqa: E402

POLICY = "version: 1\nsandbox: {network: {default: deny}}\ngit: {allow: [{host: git.test, repositories: [a/b]}]}\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
GOAWAY, PING, HEADERS = 7, 6, 1


class Bridge:
    """The tools speak TCP, a guest's stream is a Unix socket."""

    def __init__(self, path):
        self.path = str(path)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                tcp, _ = self.server.accept()
            except OSError:
                return
            unix = socket.socket(socket.AF_UNIX)
            unix.connect(self.path)
            for one, other in ((tcp, unix), (unix, tcp)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    @staticmethod
    def pump(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Tools(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="cleanroom-h2-")
        self.addCleanup(temporary.cleanup)
        self.rig = Rig(pathlib.Path(temporary.name) / "rig", POLICY, {}, None, config="allow_emulation: true\n")
        self.addCleanup(self.rig.close)
        self.bridge = Bridge(self.rig.folder / "network.sock")
        self.addCleanup(self.bridge.server.close)

    def run_tool(self, *argv):
        done = subprocess.run([*argv, f"http://127.0.0.1:{self.bridge.port}/nothing"], capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def test_settings_and_an_unknown_path(self):
        said = self.run_tool("nghttp", "-v")
        self.assertRegex(said, r"recv SETTINGS frame[\s\S]*SETTINGS_MAX_CONCURRENT_STREAMS\(0x03\):512")
        self.assertRegex(said, r"recv \(stream_id=\d+\) :status: 404")

    def test_many_requests_on_many_streams(self):
        said = self.run_tool("h2load", "-n", "600", "-c", "3", "-m", "40")
        self.assertRegex(said, r"600 done, 0 succeeded, 600 failed, 0 errored, 0 timeout")
        self.assertRegex(said, r"0 2xx, 0 3xx, 600 4xx, 0 5xx")

    def test_a_connect_is_judged(self):
        for authority in ("refused.test:443", "git.test:443", "a..b:443", "x.test:0443"):
            head = b"\x42\x07CONNECT\x41" + bytes([len(authority)]) + authority.encode()  # HPACK, literal values (RFC 7541)
            # One answer that ends the stream, END_STREAM | END_HEADERS: a refusal has no body. It is judged after the PING is answered, or before.
            frames = self.exchange(frame(HEADERS, 4, 1, head), until=bytes([HEADERS, 5, 0, 0, 0, 1]))
            self.assertEqual([flags & 1 for kind, flags, stream, _ in frames if kind == HEADERS and stream == 1], [1], (authority, frames))
        denied = [line["reason"] for line in self.rig.audit("connect") if line["action"] == "deny"]
        self.assertEqual(denied, ["host_not_allowed", "host_not_allowed", "invalid_host", "invalid_host"])

    def test_what_breaks_http2_ends_its_connection_alone(self):
        """RFC 9113: DATA on stream 0, HEADERS on an even stream, a frame above the size limit, a PING of another size."""
        for broken in (frame(0, 0, 0, b"x"), frame(HEADERS, 4, 2, b"\x82"), b"\xff\xff\xff\0\0\0\0\0\1", frame(PING, 0, 0, b"short")):
            self.assertIn(GOAWAY, [kind for kind, *_ in self.exchange(broken)], broken)
        self.assertIn(PING, [kind for kind, flags, *_ in self.exchange(frame(PING, 0, 0, b"12345678")) if flags & 1])
        self.assertIn(":status: 404", self.run_tool("nghttp", "-v"))

    def exchange(self, data, until=b"the last"):
        """The frames that the server sends until it ends the connection, or has answered a PING sent last, and `until` is among them."""
        with socket.create_connection(("127.0.0.1", self.bridge.port), timeout=10) as connection:
            connection.sendall(PREFACE + SETTINGS + data + frame(PING, 0, 0, b"the last"))
            received = b""
            while b"the last" not in received or until not in received:
                try:
                    more = connection.recv(65536)
                except ConnectionError:
                    break
                if not more:
                    break
                received += more
        frames = []
        while len(received) >= 9:
            size = int.from_bytes(received[:3], "big")
            frames.append((received[3], received[4], int.from_bytes(received[5:9], "big"), received[9:9 + size]))
            received = received[9 + size:]
        return frames


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


if __name__ == "__main__":
    unittest.main(verbosity=2)
