"""A proxy in front of a registry that does damage on purpose, and logs every request. README.md lists the faults."""
import hashlib
import http.client
import re
import threading

from exchange import CHUNK, Closed, head, respond
from servers import IO_SECONDS, Server

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te", "trailer"}
BLOBS = r"/v2/.+/blobs/sha256:"
MANIFESTS = r"/v2/.+/manifests/"
# Those that answer themselves; the others change the registry's answer.
WITHOUT_UPSTREAM = {"status", "redirect", "endless"}
FAULTS = WITHOUT_UPSTREAM | {"truncate", "flip_last", "reset", "stall", "slow", "ignore_range", "header", "oversize"}


class Rule:
    """One fault. `hits`: how often it took effect; `reached`: set when a stall has begun; `release`: set by the test to end it."""

    def __init__(self, fault, match, method, times, options):
        if fault not in FAULTS:
            raise ValueError(f"no fault '{fault}': one of {', '.join(sorted(FAULTS))}")
        self.fault, self.match, self.method, self.left, self.options = fault, re.compile(match), method, times, options
        self.hits, self.reached, self.release = 0, threading.Event(), threading.Event()

    def fits(self, request):
        at_least = self.options.get("from_byte")
        asked = re.match(r"bytes=(\d+)-", request.get("range"))
        return (self.left != 0 and self.method in (None, request.method) and self.match.search(request.path) is not None
                and (at_least is None or (int(asked[1]) if asked else 0) >= at_least))


class FaultProxy(Server):
    def __init__(self, upstream_port, upstream_tls=None, address="127.0.0.1", certificate=None):
        self.upstream_port, self.upstream_tls = upstream_port, upstream_tls
        self.rules, self.documents = [], {}
        self.blobs_now, self.most_blobs = 0, 0
        super().__init__(address, certificate)

    def fault(self, fault, match=BLOBS, method="GET", times=None, **options):
        """Adds a rule after those there are; the first that fits is taken. `times`: for that many requests. Returns the Rule."""
        rule = Rule(fault, match, method, -1 if times is None else times, options)
        with self.lock:
            self.rules.append(rule)
        return rule

    def document(self, path, body, media_type, digest=None):
        """Answers `path` with this from now on, whatever the registry has. `digest`: of the header, if not the true one."""
        with self.lock:
            self.documents[path] = (body, media_type, digest or "sha256:" + hashlib.sha256(body).hexdigest())

    def clear(self):
        """No faults and no documents; stalls end."""
        with self.lock:
            old, self.rules, self.documents = self.rules, [], {}
        for rule in old:
            rule.release.set()

    def close(self):
        self.clear()
        super().close()

    def _rule(self, request):
        with self.lock:
            for rule in self.rules:
                if rule.fits(request):
                    rule.left -= 1
                    rule.hits += 1
                    return rule
        return None

    def answer(self, request, one):
        rule = self._rule(request)
        one["fault"] = rule.fault if rule else None
        if rule and rule.fault in WITHOUT_UPSTREAM:
            return getattr(self, "_" + rule.fault)(request, one, rule)
        with self.lock:
            found = self.documents.get(request.path)
        if found and request.method in ("GET", "HEAD"):
            one["status"], one["sent"] = 200, len(found[0]) if request.method == "GET" else 0
            request.drain()
            fields = [("Content-Type", found[1]), ("Docker-Content-Digest", found[2]), ("Content-Length", len(found[0]))]
            request.connection.send(head(200, fields) + (found[0] if request.method == "GET" else b""))
            return True
        is_blob = request.method == "GET" and re.search(BLOBS, request.path)
        with self.lock:
            self.blobs_now += bool(is_blob)
            self.most_blobs = max(self.most_blobs, self.blobs_now)
        try:
            return self._forward(request, one, rule)
        finally:
            with self.lock:
                self.blobs_now -= bool(is_blob)

    def _status(self, request, one, rule):
        """`status`, `headers` ([[name, value], ...]), `body`."""
        one["status"] = rule.options["status"]
        respond(request, one["status"], rule.options.get("body", b""), rule.options.get("headers", []))
        return True

    def _redirect(self, request, one, rule):
        """307 to `to`; {hex} in it stands for the blob's digest, {path} for the request's path."""
        one["status"] = rule.options.get("status", 307)
        to = rule.options["to"].replace("{hex}", request.path.rpartition(":")[2]).replace("{path}", request.path)
        respond(request, one["status"], b"", [("Location", to)])
        return True

    def _endless(self, request, one, rule):
        """An answer of `media_type` that never ends, without Content-Length."""
        request.drain()
        one["status"] = 200
        request.connection.send(head(200, [("Content-Type", rule.options["media_type"]), ("Transfer-Encoding", "chunked")]) + b"2\r\n{ \r\n")
        while not rule.release.is_set():
            request.connection.send(b"%x\r\n%s\r\n" % (CHUNK, b" " * CHUNK))
            one["sent"] += CHUNK
        return False

    def _forward(self, request, one, rule):
        body = b"".join(request.body())
        dropped = HOP_BY_HOP | ({"range"} if rule and rule.fault == "ignore_range" else set())
        if self.upstream_tls:
            far = http.client.HTTPSConnection("127.0.0.1", self.upstream_port, timeout=IO_SECONDS, context=self.upstream_tls)
        else:
            far = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=IO_SECONDS)
        try:
            far.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                if name not in dropped:
                    far.putheader(name, value)
            if body or request.method in ("PUT", "POST", "PATCH"):
                far.putheader("Content-Length", str(len(body)))
            far.endheaders(body or None)
            answer = far.getresponse()
            one["status"] = answer.status
            return self._answer_with(request, one, rule, answer)
        finally:
            far.close()

    def _answer_with(self, request, one, rule, answer):
        fields = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
        if rule and rule.fault == "header":
            # `set`: headers in place of the registry's; None takes one away.
            changed = {name.lower(): value for name, value in rule.options["set"].items()}
            fields = [(name, value) for name, value in fields if name.lower() not in changed]
            fields += [(name, value) for name, value in changed.items() if value is not None]
        length = answer.getheader("Content-Length")
        if rule and rule.fault == "ignore_range":
            fields = [(name, value) for name, value in fields if name.lower() != "accept-ranges"]
        more = rule.options["size"] if rule and rule.fault == "oversize" else 0
        if length is None and request.method != "HEAD":
            data = answer.read()
            request.connection.send(head(answer.status, fields + [("Content-Length", len(data))]) + data)
            one["sent"] += len(data)
            return True
        request.connection.send(head(answer.status, fields + [("Content-Length", int(length or 0) + more)]))
        if request.method == "HEAD" or answer.status in (204, 304):
            return True
        self._body(request, one, rule, answer)
        while more > 0:
            request.connection.send(b" " * min(more, CHUNK))
            more -= CHUNK
        return True

    def _body(self, request, one, rule, answer):
        connection, left = request.connection, int(answer.getheader("Content-Length"))
        fault = rule.fault if rule else None
        after = rule.options.get("after", 0) if fault in ("truncate", "reset", "stall") else None
        step = CHUNK if fault != "slow" else max(1, rule.options["rate"] // 20)
        while left > 0:
            if after is not None and one["sent"] >= after:
                self._break_off(connection, rule)
                after = None
            part = answer.read(min(left, step, CHUNK if after is None else max(1, after - one["sent"])))
            if not part:
                raise Closed("the registry ended early")
            left -= len(part)
            if fault == "flip_last" and left == 0:
                part = part[:-1] + bytes([part[-1] ^ 1])
            connection.send(part)
            one["sent"] += len(part)
            if fault == "slow":
                connection.pause(0.05)

    @staticmethod
    def _break_off(connection, rule):
        """`after` bytes of the body are sent."""
        if rule.fault == "truncate":
            raise Closed("truncated by us")
        if rule.fault == "reset":
            connection.reset()
        rule.reached.set()
        rule.release.wait(rule.options.get("seconds", IO_SECONDS))
