"""What a route of the farm answers: one function for each mode, (request, options). It returns True when the connection may go on.

Options are the route's own fields, or the query of /_farm/MODE?name=value. `type`, where a mode sends a body of its own: the
Content-Type.
"""
import base64
import json
import os
import pathlib
import subprocess
import urllib.parse
import zlib

from exchange import CHUNK, head, respond

OK = b"HTTP/1.1 200 OK\r\n"


def typed(options):
    return [("Content-Type", options["type"])] if "type" in options else []


def start(options):
    """The status line, and Content-Type, of an answer whose rest is written by hand."""
    return OK + b"".join(f"{name}: {value}\r\n".encode() for name, value in typed(options))


def echo(request, _options):
    """200 with a JSON object of what arrived: the raw head, the body's size, hash and first 64 KiB."""
    request.drain()
    told = {"head": request.raw.decode("latin-1"), "body_bytes": request.size, "body_sha256": request.digest.hexdigest(),
            "body": base64.b64encode(request.start).decode()}
    respond(request, 200, json.dumps(told).encode(), [("Content-Type", "application/json")])
    return True


def status(request, options):
    """`status` with `headers` ([[name, value], ...]) and `body`."""
    respond(request, int(options.get("status", 200)), options.get("body", "").encode(), options.get("headers", []))
    return True


def redirect(request, options):
    """`status` (302) to `to`; {target}, {path} and {query} in it stand for the request's own."""
    to = options["to"].replace("{target}", request.target).replace("{path}", request.path).replace("{query}", request.query)
    respond(request, int(options.get("status", 302)), b"", [("Location", to)])
    return True


def bytes_(request, options):
    """`size` bytes, 0x00 to 0xff over and over; `chunked`: 1 for no Content-Length."""
    request.drain()
    left, chunked = int(options.get("size", 1 << 20)), options.get("chunked")
    request.connection.send(head(200, [("Transfer-Encoding", "chunked")] if chunked else [("Content-Length", left)]))
    block = bytes(range(256)) * (CHUNK // 256)
    while left > 0:
        part = block[:min(left, CHUNK)]
        left -= len(part)
        request.connection.send(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
    if chunked:
        request.connection.send(b"0\r\n\r\n")
    return True


def files(request, options):
    """Files below `root`; the route's `prefix` is taken off the path. A folder answers with its index.html."""
    root = pathlib.Path(options["root"]).resolve()
    path = (root / urllib.parse.unquote(request.path[len(options.get("prefix", "/")):]).lstrip("/")).resolve()
    if path.is_dir():
        path = path / "index.html"
    if not path.is_relative_to(root) or not path.is_file():
        respond(request, 404)
        return True
    request.drain()
    kind = {".html": "text/html", ".json": "application/json"}.get(path.suffix, options.get("type", "application/octet-stream"))
    request.connection.send(head(200, [("Content-Length", path.stat().st_size), ("Content-Type", kind)]))
    if request.method != "HEAD":
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                request.connection.send(data)
    return True


def git(request, options):
    """git http-backend over the bare repositories below `root`; `push`: 1 lets receive-pack run."""
    environment = {
        "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": options["root"], "GIT_HTTP_EXPORT_ALL": "1", "HOME": options["root"],
        "GIT_CONFIG_COUNT": "4", "GIT_CONFIG_KEY_0": "http.receivepack", "GIT_CONFIG_VALUE_0": "true" if options.get("push") else "false",
        "GIT_CONFIG_KEY_1": "safe.directory", "GIT_CONFIG_VALUE_1": "*",
        "GIT_CONFIG_KEY_2": "uploadpack.allowFilter", "GIT_CONFIG_VALUE_2": "true",
        "GIT_CONFIG_KEY_3": "uploadpack.allowAnySHA1InWant", "GIT_CONFIG_VALUE_3": "true",
        "REQUEST_METHOD": request.method, "PATH_INFO": "/" + urllib.parse.unquote(request.path[len(options.get("prefix", "/")):]).lstrip("/"),
        "QUERY_STRING": request.query, "CONTENT_TYPE": request.get("content-type"), "GIT_PROTOCOL": request.get("git-protocol"),
        "HTTP_CONTENT_ENCODING": request.get("content-encoding"), "REMOTE_USER": "farm", "REMOTE_ADDR": "192.0.2.1",
    }
    if request.get("transfer-encoding").lower() != "chunked":
        environment["CONTENT_LENGTH"] = request.get("content-length", "0")
    child = subprocess.Popen(["git", "http-backend"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        # http-backend reads all of its input before it writes more than a pipe holds.
        for data in request.body():
            child.stdin.write(data)
        child.stdin.close()
        fields, code = [], 200
        while line := child.stdout.readline(CHUNK).decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "status":
                code = int(value.split()[0])
            else:
                fields.append((name, value.strip()))
        request.connection.send(head(code, fields + [("Transfer-Encoding", "chunked")]))
        while data := child.stdout.read1(CHUNK):
            request.connection.send(b"%x\r\n%s\r\n" % (len(data), data))
        request.connection.send(b"0\r\n\r\n")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    return True


def lfs(request, options):
    """An LFS server (git-lfs docs/api). A batch answers for `objects` ({oid: {...}}, 404 for others), a GET of .../OID with its bytes.

    Of an object: `file`; `href`, where {oid} stands for its name; `header`; `size`, when another one than the file's is to be said.
    """
    objects = options["objects"]
    if request.method == "GET":
        found = objects.get(request.path.rsplit("/", 1)[1])
        respond(request, 200 if found else 404, pathlib.Path(found["file"]).read_bytes() if found else b"")
        return True
    request.drain()
    told = []
    for asked in json.loads(request.start)["objects"]:
        found = objects.get(asked["oid"])
        entry = {"oid": asked["oid"], "size": asked["size"]}
        if found:
            entry["size"] = found.get("size", pathlib.Path(found["file"]).stat().st_size)
            entry["actions"] = {"download": {"href": found["href"].replace("{oid}", asked["oid"]), "header": found.get("header", {})}}
        else:
            entry["error"] = {"code": 404, "message": "no such object"}
        told.append(entry)
    answer = json.dumps({"transfer": "basic", "objects": told}).encode()
    respond(request, 200, answer, [("Content-Type", "application/vnd.git-lfs+json")])
    return True


def hang(request, options):
    """No answer for `seconds` (600), then the end."""
    request.drain()
    request.connection.pause(float(options.get("seconds", 600)))
    return False


def slow(request, options):
    """`size` (100) bytes of body, one every `interval` (1) seconds."""
    request.drain()
    size = int(options.get("size", 100))
    request.connection.send(head(200, [("Content-Length", size), *typed(options)]))
    for _ in range(size):
        request.connection.send(b".")
        request.connection.pause(float(options.get("interval", 1)))
    return True


def slow_head(request, options):
    """An answer's head, one byte every `interval` (1) seconds, that does not end before `size` (600) bytes."""
    request.drain()
    for byte in OK + b"X-Slow: " + b"x" * int(options.get("size", 600)) + b"\r\n\r\n":
        request.connection.send(bytes([byte]))
        request.connection.pause(float(options.get("interval", 1)))
    return False


def reset(request, options):
    """A TCP reset after `after` bytes of a longer answer; without `after`, before any."""
    request.drain()
    if "after" in options:
        request.connection.send(head(200, [("Content-Length", int(options["after"]) + 1000), *typed(options)]) + b"." * int(options["after"]))
    request.connection.reset()


def gzip_bomb(request, options):
    """`size` (1 GiB) zeros, gzipped."""
    request.drain()
    packer, zeros = zlib.compressobj(9, zlib.DEFLATED, 31), bytes(1 << 20)
    request.connection.send(head(200, [("Content-Encoding", "gzip"), ("Content-Type", options.get("type", "text/plain")), ("Connection", "close")]))
    for _ in range(max(1, int(options.get("size", 1 << 30)) >> 20)):
        request.connection.send(packer.compress(zeros))
    request.connection.send(packer.flush())
    return False


def short_body(request, options):
    """`size` (1000) bytes are promised, `sent` (500) come, then an orderly end."""
    request.drain()
    request.connection.send(head(200, [("Content-Length", int(options.get("size", 1000))), *typed(options)]) + b"." * int(options.get("sent", 500)))
    return False


def two_responses(request, options):
    """Two answers to one request, in one write; with `apart`, in two, the second when that many seconds have passed."""
    request.drain()
    first = head(200, [("Content-Length", 5), *typed(options)]) + b"first"
    second = head(200, [("Content-Length", 6), *typed(options)]) + b"second"
    if "apart" in options:
        request.connection.send(first)
        request.connection.pause(float(options["apart"]))
        first = b""
    request.connection.send(first + second)
    return True


WRONG_LENGTH = {
    "conflict": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nfirst!",
    "list": b"Content-Length: 5, 6\r\n\r\nfirst!",
    "negative": b"Content-Length: -5\r\n\r\nfirst",
    "text": b"Content-Length: five\r\n\r\nfirst",
    "plus": b"Content-Length: +5\r\n\r\nfirst",
    "huge": b"Content-Length: 99999999999999999999999\r\n\r\nfirst",
    "with-chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
    "long": b"Content-Length: 5\r\n\r\nfirst and more",
}
BAD_CHUNKS = {
    "not-hex": b"zz\r\nfirst\r\n0\r\n\r\n",
    "negative": b"-5\r\nfirst\r\n0\r\n\r\n",
    "overflow": b"ffffffffffffffffff\r\nfirst\r\n0\r\n\r\n",
    "no-crlf": b"5\r\nfirst0\r\n\r\n",
    "bare-lf": b"5\nfirst\n0\n\n",
    "truncated": b"10\r\nfirst",
    "long-extension": b"5;" + b"x" * 100_000 + b"\r\nfirst\r\n0\r\n\r\n",
    "trailers": b"5\r\nfirst\r\n0\r\nContent-Length: 3\r\n\r\n",
}
BAD_HEADERS = {
    "no-colon": OK + b"Content-Length 5\r\nContent-Length: 5\r\n\r\nfirst",
    "space-before-colon": OK + b"Content-Length : 5\r\n\r\nfirst",
    "empty-name": OK + b": value\r\nContent-Length: 5\r\n\r\nfirst",
    "nul": OK + b"X-Nul: a\0b\r\nContent-Length: 5\r\n\r\nfirst",
    "bare-cr": OK + b"X-Cr: a\rb\r\nContent-Length: 5\r\n\r\nfirst",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nfirst",
    "folded": OK + b"X-Folded: a\r\n b\r\nContent-Length: 5\r\n\r\nfirst",
    "huge": OK + b"X-Huge: " + b"x" * 1_000_000 + b"\r\nContent-Length: 5\r\n\r\nfirst",
    "many": OK + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"Content-Length: 5\r\n\r\nfirst",
    "status-text": b"HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nfirst",
    "status-long": b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nfirst",
    "http-0.9": b"first",
    "http-2": b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst",
}


def wrong_length(request, options):
    """`kind`: one of WRONG_LENGTH."""
    request.drain()
    request.connection.send(start(options) + WRONG_LENGTH[options["kind"]])
    return False


def bad_chunks(request, options):
    """`kind`: one of BAD_CHUNKS."""
    request.drain()
    request.connection.send(start(options) + b"Transfer-Encoding: chunked\r\n\r\n" + BAD_CHUNKS[options["kind"]])
    return False


def bad_headers(request, options):
    """`kind`: one of BAD_HEADERS."""
    request.drain()
    request.connection.send(BAD_HEADERS[options["kind"]].replace(OK, start(options)))
    return False


def raw(request, options):
    """The bytes of `base64`, or of `text`, and the end."""
    request.drain()
    data = options.get("text", "").encode("latin-1")
    request.connection.send(base64.b64decode(options["base64"]) if "base64" in options else data)
    return False


MODES = {name.rstrip("_").replace("_", "-"): function for name, function in list(globals().items()) if function in (
    echo, status, redirect, bytes_, files, git, lfs, hang, slow, slow_head, reset, gzip_bomb, short_body, two_responses, wrong_length, bad_chunks,
    bad_headers, raw)}
