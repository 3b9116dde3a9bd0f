#!/usr/bin/env python3
"""What a hostile guest or upstream can send through the gateway, without a VM: gateway_rig stands where a run stands.

usage: CLEANROOM_BIN_DIR=build/dev/bin gateway_attacks_test.py [-v] [TestClass.test_name]
"""
import base64
import concurrent.futures
import pathlib
import re
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support/gateway_rig"))
from gateway_rig import Farm, Rig  # noqa: E402
from http_vectors import VECTORS  # noqa: E402
from raw_http import HOST, Tunnel, exchange  # noqa: E402

TOKEN = "canary-ghp-91be04d7c2"
BASIC = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
ALLOW = 'version: 1\nsandbox: {network: {default: deny}}\ngit:\n  allow:\n    - {host: git.test, repositories: ["%s"]}\n'
REFS = "application/x-git-upload-pack-advertisement"
RESULT = "application/x-git-upload-pack-result"
REFS_BODY = "001e# service=git-upload-pack\n0000000eversion 2\n0000"
RESULT_BODY = "0008NAK\n"
MEBIBYTE = 1 << 20
# Freed memory that a sanitiser keeps back would count as the rig's.
FRUGAL = {"ASAN_OPTIONS": "quarantine_size_mb=1:thread_local_quarantine_size_kb=16"}

WRONG_LENGTH = ("conflict", "list", "negative", "text", "plus", "huge", "with-chunked", "long")
BAD_CHUNKS = ("not-hex", "negative", "overflow", "no-crlf", "bare-lf", "truncated", "long-extension", "trailers")
BAD_HEADERS = ("no-colon", "space-before-colon", "empty-name", "nul", "bare-cr", "bare-lf", "folded", "huge", "many", "status-text",
               "status-long", "http-0.9", "http-2")
# One reading of these answers is "first" and nothing else; the gateway may give that on, framed anew.
READABLE = {("wrong-length", "long"), ("bad-headers", "folded"), ("bad-chunks", "trailers"), ("two-responses", ""), ("two-responses", "apart")}


def refs_request(repository, fields=b""):
    return f"GET /git/git.test/{repository}/info/refs?service=git-upload-pack HTTP/1.1\r\n".encode() + HOST + fields + b"\r\n"


def pack_request(repository, fields=b"Content-Length: 4\r\n", body=b"0000"):
    return (f"POST /git/git.test/{repository}/git-upload-pack HTTP/1.1\r\n".encode() + HOST +
            b"Content-Type: application/x-git-upload-pack-request\r\n" + fields + b"\r\n" + body)


def until(condition, limit):
    """Whether `condition` came true within `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def pair(prefix, **mode):
    """Routes for both requests of a fetch, with their content types."""
    return [{"prefix": prefix, "method": "GET", "type": REFS, **mode}, {"prefix": prefix, "method": "POST", "type": RESULT, **mode}]


def bad_answers():
    """name -> routes, for each way in which an answer can be wrong."""
    kinds = [("wrong-length", kind) for kind in WRONG_LENGTH] + [("bad-chunks", kind) for kind in BAD_CHUNKS]
    kinds += [("bad-headers", kind) for kind in BAD_HEADERS]
    found = {(mode, kind): {"mode": mode, "kind": kind} for mode, kind in kinds}
    found["two-responses", ""] = {"mode": "two-responses"}
    found["two-responses", "apart"] = {"mode": "two-responses", "apart": 0.2}
    found["short-body", ""] = {"mode": "short-body"}
    found["reset", ""] = {"mode": "reset"}
    found["reset", "in the body"] = {"mode": "reset", "after": 500}
    return found


def routes():
    good = lambda prefix: [{"prefix": prefix, "method": "GET", "mode": "status", "body": REFS_BODY, "headers": [["Content-Type", REFS]]},
                           {"prefix": prefix, "method": "POST", "mode": "status", "body": RESULT_BODY, "headers": [["Content-Type", RESULT]]}]
    coded = lambda prefix, coding: [{**route, "headers": route["headers"] + [["Content-Encoding", coding]]} for route in good(prefix)]
    out = good("/org/good")
    for number, mode in enumerate(bad_answers().values()):
        out += pair(f"/org/bad{number}/", **mode)
    out += pair("/org/bomb/", mode="gzip-bomb", size=256 * MEBIBYTE)
    for coding in ("br", "zstd", "gzip,-gzip"):
        out += coded(f"/org/coded-{coding.replace(',', '')}/", coding.replace("-", " "))
    out += pair("/org/hang/", mode="hang", seconds=30) + pair("/org/slow-body/", mode="slow", size=30, interval=1)
    out += pair("/org/slow-head/", mode="slow-head", interval=1)
    out += pair("/org/talk/", mode="status", status=500, body=f"upstream says {BASIC} {TOKEN}", headers=[["X-Said", BASIC], ["Set-Cookie", TOKEN]])
    out += pair("/org/denies/", mode="status", status=403, body=f"upstream says {BASIC} {TOKEN}", headers=[["WWW-Authenticate", TOKEN]])
    out += pair("/org/e500/", mode="status", status=500) + pair("/org/e503/", mode="status", status=503)
    out += [{"prefix": "/org/split", "mode": "redirect", "status": 302, "to": "/org/a%0d%0aX-Evil:%20y/info/refs?{query}"}]
    return out + good("/org")


class AttackCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory(prefix="cleanroom-attacks-")
        cls.root = pathlib.Path(cls.temporary.name)
        cls.farm = Farm(cls.root / "farm", {"names": ["git.test"], "listeners": {
            "web": {"tls": "good", "alpn": ["http/1.1"], "routes": routes()}, "stalled": {"protocol": "silent"}}})
        cls.counter = 0

    @classmethod
    def tearDownClass(cls):
        cls.farm.close()
        cls.temporary.cleanup()

    def rig(self, repositories="org/*", address=None, **more):
        type(self).counter += 1
        rig = Rig(self.root / f"rig{self.counter}", ALLOW % repositories, {"git.test": address or self.farm.address("web")}, self.farm.ca,
                  environment=FRUGAL, **more)
        self.addCleanup(rig.close)
        return rig

    def bound(self, **more):
        token = self.root / f"token{self.counter}"
        token.write_text(TOKEN + "\n")
        token.chmod(0o600)
        return self.rig(credentials="bindings:\n  - {id: all, host: git.test, paths: [org/*], methods: [git-read], source: {file: %s}}\n" % token, **more)

    def upstream(self, part):
        """The requests that upstream saw with `part` in their target."""
        return [event for event in self.farm.events("request") if part in event["target"]]

    def ask(self, rig, data):
        with Tunnel(rig) as tunnel:
            tunnel.send(data)
            tunnel.finish()
            return tunnel.answers()


class Parsing(AttackCase):
    HEAD = re.compile(r"(GET /org/{0}/info/refs\?service=git-upload-pack|POST /org/{0}/git-upload-pack) HTTP/1\.1\r\n"
                      r"([a-z-]+: [\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\r\n)+\r\n".replace("{0}", "NAME"))

    def vector(self, rig, number, data):
        path = f"/git/git.test/org/v{number}".encode()
        data = data.replace(b"{P}", path + b"/git-upload-pack").replace(b"{G}", path + b"/info/refs?service=git-upload-pack")
        return exchange(rig, data)

    def test_GTW_03_vectors_of_http_parsers(self):
        rig = self.rig()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda entry: self.vector(rig, entry[0], entry[1][1]), enumerate(VECTORS)))
        heads = {}
        for event in self.farm.events("request"):
            heads.setdefault(event["target"].split("/")[2], []).append(event)
        for number, ((name, _, statuses), answers) in enumerate(zip(VECTORS, found)):
            with self.subTest(name):
                self.assertEqual([answer.status for answer in answers], statuses, answers)
                # An answer to HEAD says a length and has no body (RFC 9110 section 9.3.2).
                self.assertTrue(name.startswith("line: HEAD") or all(answer.whole for answer in answers), answers)
                seen = heads.pop(f"v{number}", [])
                # A body that breaks off has been announced upstream; nothing else that was refused has.
                self.assertLessEqual(len(seen), statuses.count(200) + (1 if name.startswith(("chunk", "end: a body")) else 0))
                for event in seen:
                    self.assertTrue(re.fullmatch(self.HEAD.pattern.replace("NAME", f"v{number}"), event["head"]), event["head"])
                    names = [field for field, _ in event["headers"]]
                    self.assertEqual(len(names), len(set(names)), names)
                    self.assertFalse({"content-length", "transfer-encoding"} <= set(names))
                    self.assertLessEqual(set(names), {"host", "accept", "user-agent", "pragma", "content-type", "content-length", "transfer-encoding"})
        self.assertEqual(heads, {}, "requests that no vector asked for")

    def test_GTW_06_line_ends_and_nul_out_of_escapes(self):
        rig = self.rig()
        for text in ("%0d%0a", "%0D", "%0a", "%00", "%0d%0aX-Evil:%20y", "%250d%250a", "%e5%98%8d%e5%98%8a", "%c0%8d", "%u000d", "%0"):
            for target in (f"/git/git.test/org/n{text}/info/refs?service=git-upload-pack", f"/git/git.test{text}/org/n/info/refs?service=git-upload-pack",
                           f"/git/git.test/org/n/info/refs{text}?service=git-upload-pack", f"/git/git.test/org/n/info/refs?service=git-upload-pack{text}",
                           f"/git/git.test/org/n/info/refs?{text}=git-upload-pack", f"/{text}git/git.test/org/n/info/refs?service=git-upload-pack"):
                with self.subTest(target):
                    [answer] = self.ask(rig, f"GET {target} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
                    self.assertEqual(answer.status, 400, answer)
                    self.assertNotIn(b"Evil", answer.body)
        self.assertEqual(self.upstream("/org/n"), [])
        [answer] = self.ask(rig, refs_request("org/split"))
        self.assertEqual((answer.status, answer.fields["cleanroom-reason"]), (403, "redirect_denied"))
        self.assertEqual([event["target"] for event in self.upstream("Evil")], [])
        self.assertTrue(all(line.isprintable() for line in rig.audit_file.read_text().splitlines()))


class Limits(AttackCase):
    def test_GTW_15_heads_urls_chunks_and_trailers(self):
        rig = self.rig()
        [answer] = self.ask(rig, refs_request("org/good"))
        self.assertEqual(answer.status, 200)
        floor = rig.rss()
        tiny = b"1\r\n0\r\n" * 10_000
        cases = [
            ("a head of 64 KiB", 400, [refs_request("org/good", b"X: " + b"y" * 65536 + b"\r\n")]),
            ("10k fields", 400, [refs_request("org/good", b"".join(b"X-%d: y\r\n" % n for n in range(10_000)))]),
            ("a URL of 1 MiB", 400, [b"GET /git/git.test/", b"a" * MEBIBYTE, b" HTTP/1.1\r\n" + HOST + b"\r\n"]),
            ("a URL of 16 KiB", 400, [b"GET /git/git.test/" + b"a" * 16384 + b" HTTP/1.1\r\n" + HOST + b"\r\n"]),
            ("a last chunk and nothing more", 400, [pack_request("org/good", b"Transfer-Encoding: chunked\r\n", b"0\r\n"), b"X"]),
            ("10k trailers", 400, [pack_request("org/good", b"Transfer-Encoding: chunked\r\n", b"0\r\n"), b"X: y\r\n" * 10_000 + b"\r\n"]),
            ("1e6 chunks of one byte", 200, [pack_request("org/good", b"Transfer-Encoding: chunked\r\n", b"")] + [tiny] * 100 + [b"0\r\n\r\n"]),
        ]
        for name, status, pieces in cases:
            with self.subTest(name), Tunnel(rig) as tunnel:
                tunnel.send_aside(pieces)
                self.assertEqual(tunnel.answer().status, status)
        self.assertLess(rig.rss() - floor, 16 * MEBIBYTE)

    def test_GTW_16_encoded_answers(self):
        rig = self.rig()
        [answer] = self.ask(rig, refs_request("org/good"))
        floor = rig.rss()
        for name in ("bomb", "coded-br", "coded-zstd", "coded-gzip-gzip"):
            with self.subTest(name):
                [refs] = self.ask(rig, refs_request(f"org/{name}"))
                self.assertEqual((refs.status, refs.fields["cleanroom-reason"]), (502, "upstream_invalid"))
                [result] = self.ask(rig, pack_request(f"org/{name}"))
                self.assertEqual(result.fields["cleanroom-reason"], "upstream_invalid")
                self.assertIn(b"ERR ", result.body)
        self.assertEqual({dict(event["headers"]).get("accept-encoding") for event in self.upstream("/org/")}, {None})
        self.assertLess(rig.rss() - floor, 16 * MEBIBYTE)

    def test_GIT_09_request_bodies(self):
        rig = self.rig()
        [answer] = self.ask(rig, refs_request("org/good"))
        floor = rig.rss()
        import zlib
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = b"".join(packer.compress(bytes(MEBIBYTE)) for _ in range(64)) + packer.flush()
        self.assertLess(len(bomb), 100_000)
        fields = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(bomb)
        [answer] = self.ask(rig, pack_request("org/good-zip", fields, bomb))
        self.assertEqual(answer.status, 200)
        # As it came: nothing here unpacks it.
        [event] = [event for event in self.farm.events("body") if "good-zip" in event["target"]]
        self.assertEqual(event["bytes"], len(bomb))
        for coding in (b"gzip, gzip", b"gzip,gzip", b"deflate", b"br", b"zstd", b"x-gzip", b"GZIP", b"gzip\r\nContent-Encoding: gzip"):
            with self.subTest(coding):
                [answer] = self.ask(rig, pack_request("org/coded", b"Content-Encoding: " + coding + b"\r\nContent-Length: 4\r\n"))
                self.assertEqual((answer.status, answer.fields["cleanroom-reason"]), (400, "gateway_request_invalid"))
        self.assertEqual(self.upstream("/org/coded/"), [])
        with Tunnel(rig) as tunnel:
            tunnel.send(pack_request("org/much", b"Content-Length: %d\r\n" % (2 << 30)))
            self.assertIn(b"ERR cleanroom: git.test/org/much: gateway_limit", tunnel.answer().body)
        self.assertEqual(self.upstream("/org/much/"), [])
        chunk = b"%x\r\n" % MEBIBYTE + bytes(MEBIBYTE) + b"\r\n"
        with Tunnel(rig) as tunnel:
            tunnel.send_aside([pack_request("org/more", b"Transfer-Encoding: chunked\r\n", b"")] + [chunk] * 80 + [b"0\r\n\r\n"])
            self.assertIn(b"ERR cleanroom: git.test/org/more: gateway_limit", tunnel.answer().body)
        self.assertTrue(until(lambda: any("/org/more/" in event["target"] for event in self.farm.events("body")), 5))
        [event] = [event for event in self.farm.events("body") if "/org/more/" in event["target"]]
        self.assertLessEqual(event["bytes"], 64 * MEBIBYTE)
        self.assertLess(rig.rss() - floor, 16 * MEBIBYTE)


class BadUpstream(AttackCase):
    def assert_clean(self, rig, tunnel):
        """The next request, on the same tunnel where it lives on, is answered with its own answer."""
        tunnel.received = b""
        if tunnel.reset or not tunnel.send(refs_request("org/good")):
            tunnel = Tunnel(rig)
            self.addCleanup(tunnel.close)
            tunnel.send(refs_request("org/good"))
        answer = tunnel.answer()
        self.assertEqual((answer.status, answer.body), (200, REFS_BODY.encode()), answer)

    def test_GTW_19_answers_that_are_none(self):
        rig = self.rig()
        for number, key in enumerate(bad_answers()):
            for data in (refs_request(f"org/bad{number}"), pack_request(f"org/bad{number}")):
                with self.subTest(answer=key, request=data[:4]), Tunnel(rig) as tunnel:
                    tunnel.send(data)
                    answer = tunnel.answer()
                    whole = answer is not None and answer.status == 200 and answer.whole and b"ERR " not in answer.body
                    if whole:
                        self.assertIn(key, READABLE)
                        self.assertEqual(answer.body, b"first")
                    elif answer and answer.status:
                        self.assertTrue(not answer.whole or answer.fields["cleanroom-reason"] == "upstream_invalid", answer)
                    self.assertNotIn(b"second", tunnel.received)
                    mark = len(self.farm.events("accept"))
                    if key == ("two-responses", "apart"):
                        time.sleep(0.5)  # the second answer arrives meanwhile
                    self.assert_clean(rig, tunnel)
                    self.assertEqual(len(self.farm.events("accept")), mark + 1, "its connection was used again")

    def test_FLT_09_faults_of_upstream(self):
        """Each ends, or lasts for itself alone: a neighbour on the same gateway is answered at once all the while."""
        closed = socket_nobody_listens_on()
        faults = {"refused": (closed, "connect_failed"), "silent": (self.farm.address("stalled"), "upstream_untrusted connect_failed")}
        rigs = {name: (self.rig(address=address), reasons) for name, (address, reasons) in faults.items()}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            slow = {name: pool.submit(self.ask, rig, refs_request("org/good")) for name, (rig, _) in rigs.items()}
            rig = self.rig()
            slow_body, slow_head = Tunnel(rig), Tunnel(rig)
            slow_body.send(pack_request("org/slow-body"))
            slow_head.send(refs_request("org/slow-head"))
            self.assertTrue(until(lambda: self.upstream("/org/slow-head/") and self.upstream("/org/slow-body/"), 10))
            for name in ("e500", "e503"):
                [answer] = self.ask(rig, refs_request(f"org/{name}"))
                self.assertEqual((answer.status, answer.fields["cleanroom-reason"]), (502, "upstream_invalid"))
                self.assertEqual(len(self.upstream(f"/org/{name}/")), 1, "asked again without end")
            started = time.monotonic()
            for _ in range(20):
                [answer] = self.ask(rig, refs_request("org/good"))
                self.assertEqual(answer.status, 200)
            self.assertLess(time.monotonic() - started, 10)
            for tunnel in (slow_body, slow_head):
                tunnel.abort()
            ended = lambda: sum(event["why"] == "end of the stream" or "reset" in event["why"].lower() for event in self.farm.events("end"))
            self.assertTrue(until(lambda: ended() >= 2, 5))
            for name, (_, reasons) in rigs.items():
                [answer] = slow[name].result(30)
                self.assertEqual(answer.status, 502, name)
                self.assertIn(answer.fields["cleanroom-reason"], reasons.split())

    def test_GTW_20_a_guest_that_leaves_takes_upstream_along(self):
        for leave in ("reset", "end of the run"):
            with self.subTest(leave):
                rig = self.rig()
                mark = len(self.upstream("/org/hang/"))
                tunnel = Tunnel(rig)
                self.addCleanup(tunnel.close)
                tunnel.send(refs_request("org/hang"))
                self.assertTrue(until(lambda: len(self.upstream("/org/hang/")) > mark, 10))
                peer = self.upstream("/org/hang/")[-1]["peer"]
                if leave == "reset":
                    tunnel.abort()
                else:
                    rig.process.stdin.close()
                self.assertTrue(until(lambda: any(event["peer"] == peer for event in self.farm.events("end")), 1), "upstream is still connected")

    def test_GTW_10_what_upstream_says_stays_here(self):
        rig = self.bound()
        texts = []
        for name in ("talk", "denies", "bad0", "coded-br"):
            for data in (refs_request(f"org/{name}"), pack_request(f"org/{name}")):
                [answer] = self.ask(rig, data)
                self.assertIn("cleanroom-reason", answer.fields)
                self.assertNotIn(b"upstream says", answer.body)
                texts += [answer.body.decode(), str(answer.fields)]
        self.assertEqual({dict(event["headers"]).get("authorization") for event in self.upstream("/org/talk/")}, {BASIC})
        self.assertIn("credential", {line["event"] for line in rig.audit()})
        for text in (*texts, rig.audit_file.read_text(), rig.stderr(), "\n".join(rig.denied)):
            for secret in (TOKEN, BASIC.split()[1]):
                self.assertNotIn(secret, text)


class Neighbours(AttackCase):
    FORGED = (b"X-Sandbox-Id: %s\r\nX-Cleanroom-Run: %s\r\nX-Forwarded-Host: %s\r\nCookie: run=%s\r\n")

    def test_GTW_12_two_sandboxes_never_cross(self):
        rigs = {side: self.rig(repositories=f"org-{side}/*") for side in "ab"}
        requests = 400

        def work(side, thread):
            other = "b" if side == "a" else "a"
            forged = self.FORGED % ((other.encode(),) * 4)
            wrong = []
            with Tunnel(rigs[side]) as tunnel:
                for number in range(requests):
                    asked = other if number % 2 else side
                    tunnel.send(refs_request(f"org-{asked}/good{thread}", forged))
                    answer = tunnel.answer()
                    expected = (403, "git_repository_not_allowed") if asked == other else (200, None)
                    if (answer.status, answer.fields.get("cleanroom-reason")) != expected:
                        wrong.append(repr(answer))
            return wrong

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = [pool.submit(work, side, thread) for side in "ab" for thread in range(2)]
            self.assertEqual([job.result(60) for job in done], [[]] * 4)
        peers = {}
        for event in self.upstream("/org-"):
            peers.setdefault(tuple(event["peer"]), set()).add(event["target"][5])
            self.assertNotIn("forwarded", event["head"].lower())
        self.assertEqual({side for sides in peers.values() for side in sides}, {"a", "b"})
        self.assertTrue(all(len(sides) == 1 for sides in peers.values()), "one upstream connection for two sandboxes")
        for side, rig in rigs.items():
            allowed = {line["path"] for line in rig.audit("gateway") if line["action"] == "allow"}
            self.assertEqual({path[:6] for path in allowed}, {f"/org-{side}"})

    def test_GTW_13_nothing_of_one_is_given_to_another(self):
        first, second = self.bound(), self.rig()
        for fields in (b"Range: bytes=0-3\r\n", b"Accept-Encoding: gzip, br\r\n", b"If-None-Match: *\r\n", b"X-Forwarded-Host: evil.test\r\n",
                       b"X-Original-URL: /evil\r\n", b"Accept: text/html\r\n"):
            [poison] = self.ask(first, refs_request("org/good-p", fields))
            self.assertEqual((poison.status, poison.body), (200, REFS_BODY.encode()))
        [denied] = self.ask(first, refs_request("org/denies"))
        self.assertEqual(denied.status, 403)
        mark = len(self.upstream("/org/good-p/"))
        [answer] = self.ask(second, refs_request("org/good-p"))
        self.assertEqual((answer.status, answer.body), (200, REFS_BODY.encode()))
        asked = self.upstream("/org/good-p/")
        self.assertEqual(len(asked), mark + 1, "B's answer was not fetched for B")
        self.assertNotIn("authorization", dict(asked[-1]["headers"]))
        # What A asked and what B asked differ in A's credential and in nothing else.
        plain = {name: value for name, value in map(tuple, asked[0]["headers"]) if name != "authorization"}
        self.assertTrue(all({n: v for n, v in map(tuple, event["headers"]) if n != "authorization"} == plain for event in asked))


def socket_nobody_listens_on():
    import socket
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % sock.getsockname()[1]


if __name__ == "__main__":
    unittest.main(verbosity=2)
