"""Requests that two HTTP/1.1 readers could see differently, and some that all see alike (RFC 9110, 9112; RFC 3986 for targets).

VECTORS: (name, bytes, statuses). In the bytes {P} stands for a POST route and {G} for a GET route of a repository of the vector's own.
`statuses` are those of the answers, in order, after which the connection has ended: the client ends its side behind the last byte.
"""
HOST = b"Host: gateway.cleanroom.internal\r\n"
TYPE = b"Content-Type: application/x-git-upload-pack-request\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"
SMUGGLED = b"GET {G} HTTP/1.1\r\n" + HOST + b"\r\n"

HIDDEN = b"GET /git/git.test/org/hidden/info/refs?service=git-upload-pack HTTP/1.1\r\n" + HOST + b"\r\n"


def post(fields=b"", body=b"", host=HOST):
    return b"POST {P} HTTP/1.1\r\n" + host + TYPE + fields + b"\r\n" + body


def get(fields=b"", line=b"GET {G} HTTP/1.1", host=HOST):
    return line + b"\r\n" + host + fields + b"\r\n"


def table(prefix, statuses, entries):
    return [(f"{prefix}: {name}", data, statuses) for name, data in entries]


VALID = table("valid", [200], [
    ("a body of known length", post(b"Content-Length: 4\r\n", b"0000")),
    ("a body in chunks", post(CHUNKED, b"4\r\n0000\r\n" + LAST)),
    ("many chunks, upper-case and padded sizes", post(CHUNKED, b"0004\r\n0000\r\n1\r\n0\r\n1\r\n0\r\nA\r\n0123456789\r\n" + LAST)),
    ("a chunk extension", post(CHUNKED, b"4;name=value\r\n0000\r\n" + LAST)),
    ("an empty chunked body", post(CHUNKED, LAST)),
    ("Transfer-Encoding in capitals", post(b"TRANSFER-ENCODING: Chunked\r\n", b"4\r\n0000\r\n" + LAST)),
    ("blanks around a value", post(b"Transfer-Encoding: \t chunked \t\r\n", b"4\r\n0000\r\n" + LAST)),
    ("no blank before a value", post(b"Content-Length:4\r\n", b"0000")),
    ("leading zeros of a length", post(b"Content-Length: 0004\r\n", b"0000")),
    ("a body that is a request", post(b"Content-Length: %d\r\n" % len(HIDDEN), HIDDEN)),
    ("no body", post(b"Content-Length: 0\r\n")),
    ("HTTP/1.0", get(line=b"GET {G} HTTP/1.0")),
    ("Connection: close", get(b"Connection: close\r\n")),
    ("Host in other letters, a port, a trailing dot", get(host=b"HOST: Gateway.Cleanroom.INTERNAL.:80\r\n")),
    ("names with underscores are other names", post(b"Content_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 4\r\n", b"0000")),
    ("bytes above ASCII in a value", get(b"X-Text: caf\xc3\xa9\r\n")),
    ("an empty value", get(b"X-Empty:\r\n")),
    ("a body on GET", get(b"Content-Length: 5\r\n") + b"GET /"),
    ("a chunked body on GET", get(CHUNKED) + b"5\r\nGET /\r\n" + LAST),
]) + table("valid", [200, 200], [
    ("two requests in one write", post(b"Content-Length: 4\r\n", b"0000") + SMUGGLED),
    ("a chunked body, then another request", post(CHUNKED, b"4\r\n0000\r\n" + LAST) + SMUGGLED),
])

LENGTHS = table("length", [400], [
    (repr(value)[2:-1], post(b"Content-Length:" + value + b"\r\n", b"0000" + SMUGGLED)) for value in (
        b" -4", b" +4", b" -0", b" 4, 4", b" 4,5", b" 4,4,4", b" 4 4", b" 0x4", b" 0o4", b" 4_0", b" four", b"", b" ", b" 4;", b" 4.0", b" 4e0",
        b" 99999999999999999999", b" 18446744073709551620", b" 9223372036854775808", b" \x0b4", b" \x0c4", b" \xa04", b" \"4\"", b" 4\x00",
        b" 4\r", b" \xd9\xa4")
]) + table("length", [400], [
    ("two different", post(b"Content-Length: 4\r\nContent-Length: 5\r\n", b"0000" + SMUGGLED)),
    ("two equal", post(b"Content-Length: 4\r\ncontent-length: 4\r\n", b"0000" + SMUGGLED)),
    ("two, one folded", post(b"Content-Length: 4\r\n Content-Length: 5\r\n", b"0000")),
    ("blank before the colon", post(b"Content-Length : 4\r\n", b"0000" + SMUGGLED)),
    ("tab before the colon", post(b"Content-Length\t: 4\r\n", b"0000" + SMUGGLED)),
    ("blank before the name", post(b" Content-Length: 4\r\n", b"0000")),
    ("more than 2^59, and no body", post(b"Content-Length: 1000000000000000000\r\n")),
])

BOTH = table("both", [400], [
    ("length, then chunked", post(b"Content-Length: 4\r\n" + CHUNKED, LAST + SMUGGLED)),
    ("chunked, then length", post(CHUNKED + b"Content-Length: 4\r\n", b"4\r\n0000\r\n" + LAST + SMUGGLED)),
    ("chunked and length 0", post(CHUNKED + b"Content-Length: 0\r\n", LAST)),
    ("with Connection: close", post(b"Connection: close\r\nContent-Length: 4\r\n" + CHUNKED, LAST)),
    ("length and identity", post(b"Content-Length: 4\r\nTransfer-Encoding: identity\r\n", b"0000")),
    ("length and an unknown coding", post(b"Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n", b"0000" + SMUGGLED)),
    ("length and an empty coding", post(b"Content-Length: 4\r\nTransfer-Encoding:\r\n", b"0000")),
    ("GET with both", get(b"Content-Length: 4\r\n" + CHUNKED) + LAST + SMUGGLED),
    ("HEAD with both", get(b"Content-Length: 4\r\n" + CHUNKED, line=b"HEAD {G} HTTP/1.1") + LAST + SMUGGLED),
])

CODINGS = table("coding", [400], [
    (repr(value)[2:-1], post(b"Transfer-Encoding:" + value + b"\r\n", b"4\r\n0000\r\n" + LAST + SMUGGLED)) for value in (
        b" xchunked", b" chunkedx", b" chunked, identity", b" identity, chunked", b" identity", b" gzip, chunked", b" chunked, gzip", b" gzip",
        b" chunked, chunked", b" chunked,", b" ,chunked", b" , chunked", b" chunked;q=1", b" chunked ; a=b", b"", b" ", b" \x0bchunked",
        b" \x0cchunked", b" chunked\x0b", b" chun\x00ked", b" \x00chunked", b" \"chunked\"", b" 'chunked'", b" chun ked", b" chunke", b" c\xc2\xadhunked",
        b" \xe2\x84\xaahunked", b" chunked\r\r", b"\r\n chunked", b"\r\n\tchunked", b" \r\n chunked", b" trailers", b" cow")
]) + table("coding", [400], [
    ("twice", post(CHUNKED + CHUNKED, LAST + SMUGGLED)),
    ("twice, the other identity", post(CHUNKED + b"Transfer-Encoding: identity\r\n", LAST)),
    ("blank before the colon", post(b"Transfer-Encoding : chunked\r\n", LAST + SMUGGLED)),
    ("tab before the colon", post(b"Transfer-Encoding\t: chunked\r\n", LAST)),
    ("no-break space in the name", post(b"Transfer-Encoding\xa0: chunked\r\n", LAST)),
    ("HTTP/1.0", post(CHUNKED, LAST).replace(b"HTTP/1.1", b"HTTP/1.0", 1)),
    ("folded behind another field", post(b"X: y\r\n Transfer-Encoding: chunked\r\n", LAST)),
    ("NUL in the name", post(b"Transfer-Encoding\x00: chunked\r\n", LAST)),
    ("bare CR before the name", post(b"X: y\rTransfer-Encoding: chunked\r\n", LAST)),
    ("bare LF before the name", post(b"X: y\nTransfer-Encoding: chunked\r\n", LAST)),
    ("OPTIONS with a folded one", post(b"Transfer-Encoding:\r\n chunked\r\n", LAST).replace(b"POST", b"OPTIONS", 1)),
])

CHUNKS = table("chunk", [400], [
    (repr(body[:40])[2:-1], post(CHUNKED, body)) for body in (
        b"-4\r\n0000\r\n" + LAST, b"+4\r\n0000\r\n" + LAST, b"0x4\r\n0000\r\n" + LAST, b"4_0\r\n0000\r\n" + LAST, b" 4\r\n0000\r\n" + LAST,
        b"4 \r\n0000\r\n" + LAST, b"4\t\r\n0000\r\n" + LAST, b"\r\n0000\r\n" + LAST, b"g\r\n0000\r\n" + LAST, b";x\r\n0000\r\n" + LAST,
        b"ffffffffffffffff\r\n0000\r\n", b"fffffffffffffffff\r\n0000\r\n", b"10000000000000004\r\n0000\r\n" + LAST,
        b"8000000000000004\r\n0000\r\n" + LAST, b"4\n0000\r\n" + LAST, b"4\r0000\r\n" + LAST, b"4\r\r\n0000\r\n" + LAST, b"4\r\n0000\n" + LAST,
        b"4\r\n0000\r" + LAST, b"4\r\n0000" + LAST, b"4\r\n00000\r\n" + LAST, b"4\r\n000000\r\n" + LAST, b"4;a\nb\r\n0000\r\n" + LAST,
        b"4;a\rb\r\n0000\r\n" + LAST, b"4;a\x00b\r\n0000\r\n" + LAST, b"4;a\x1bb\r\n0000\r\n" + LAST, b"4;" + b"x" * 100_000 + b"\r\n0000\r\n" + LAST,
        b"4\r\n0000\r\n0\n\n", b"4\r\n0000\r\n0\r\n\n", b"4\r\n0000\r\n0\r\nContent-Length: 3\r\n\r\n", b"4\r\n0000\r\n0\r\nHost: evil.test\r\n\r\n",
        b"4\r\n0000\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\n0000\r\n0\r\nAuthorization: Basic eDp5\r\n\r\n",
        b"4\r\n0000\r\n0\r\nX: y\r\n\r\n" + SMUGGLED, b"\xd9\xa4\r\n0000\r\n" + LAST, b"4\r\n0000\r\n0", b"4\r\n0000\r\n", b"4\r\n00", b"4")
])

LINES = table("line", [400], [
    (repr(line)[2:-1], get(line=line)) for line in (
        b"GET  {G} HTTP/1.1", b"GET {G}  HTTP/1.1", b"GET\t{G} HTTP/1.1", b"GET {G}\tHTTP/1.1", b" GET {G} HTTP/1.1", b"GET {G} HTTP/1.1 ",
        b"GET {G}", b"GET {G} ", b"GET HTTP/1.1", b"GET  HTTP/1.1", b"{G}", b"GET", b"", b"GET {G} HTTP/0.9", b"GET {G} HTTP/1.2", b"GET {G} HTTP/2.0",
        b"GET {G} HTTP/2", b"GET {G} HTTP/1", b"GET {G} HTTP/1.", b"GET {G} HTTP/01.1", b"GET {G} HTTP/1.01", b"GET {G} HTTP/1.10", b"GET {G} http/1.1",
        b"GET {G} HTTP /1.1", b"GET {G} HTTP/ 1.1", b"GET {G} HTTP/1 .1", b"GET {G} HTTPS/1.1", b"GET {G} XTTP/1.1", b"GET {G} HTTP/-1.1",
        b"GET {G} HTTP/1.1\x00", b"G\x00T {G} HTTP/1.1", b"G@T {G} HTTP/1.1", b"G(T {G} HTTP/1.1", b"\"GET\" {G} HTTP/1.1", b"G\xc3\x8bT {G} HTTP/1.1",
        b"GET {G}\x00 HTTP/1.1", b"GET {G}\x01 HTTP/1.1", b"GET {G}\x7f HTTP/1.1", b"GET {G} x HTTP/1.1", b"GET {G}#top HTTP/1.1",
        b"GET {G}\\x HTTP/1.1", b"GET {G}\xc0\xaf HTTP/1.1", b"GET {G}\xc3\xa9 HTTP/1.1", b"GET http://gateway.cleanroom.internal{G} HTTP/1.1",
        b"GET http://evil.test{G} HTTP/1.1", b"GET https://git.test/org/web HTTP/1.1", b"GET //evil.test{G} HTTP/1.1", b"GET git.test HTTP/1.1",
        b"GET gateway.cleanroom.internal:80 HTTP/1.1", b"GET * HTTP/1.1", b"POST * HTTP/1.1", b"GET ?x HTTP/1.1", b"GET ../x HTTP/1.1",
        b"CONNECT git.test:443 HTTP/1.1", b"CONNECT git.test HTTP/1.1", b"CONNECT {G} HTTP/1.1", b"CONNECT git.test: HTTP/1.1", b"CONNECT * HTTP/1.1",
        b"PRI * HTTP/2.0", b"OPTIONS * HTTP/1.1", b"OPTIONS ** HTTP/1.1",
        b"SSH-2.0-OpenSSH_9.2", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\x01\x02\xff\xfe", b"\xef\xbb\xbfGET {G} HTTP/1.1")
]) + table("line", [403], [
    (repr(line)[2:-1], get(line=line)) for line in (
        b"get {G} HTTP/1.1", b"Get {G} HTTP/1.1", b"HEAD {G} HTTP/1.1", b"TRACE {G} HTTP/1.1", b"DELETE {G} HTTP/1.1", b"OPTIONS {G} HTTP/1.1",
        b"PROPFIND {G} HTTP/1.1", b"FOO {G} HTTP/1.1", b"!#$%&'*+-.^_`|~ {G} HTTP/1.1", b"GET {P} HTTP/1.1", b"POST {G} HTTP/1.1", b"%s {G} HTTP/1.1" % (b"M" * 1000))
])

FIELDS = table("field", [400], [
    ("no colon", get(b"NoColon\r\n")), ("an empty name", get(b": value\r\n")), ("a blank name", get(b" : value\r\n")),
    ("a blank in a name", get(b"X Y: value\r\n")), ("a tab in a name", get(b"X\tY: value\r\n")), ("a slash in a name", get(b"X/Y: value\r\n")),
    ("a bracket in a name", get(b"X[Y]: value\r\n")), ("bytes above ASCII in a name", get(b"X-\xc3\xa9: value\r\n")),
    ("NUL in a name", get(b"X\x00Y: value\r\n")), ("NUL in a value", get(b"X: a\x00b\r\n")), ("NUL at the end", get(b"X: a\x00\r\n")),
    ("bare CR in a value", get(b"X: a\rb\r\n")), ("bare CR hides a field", get(b"X: a\rHost: evil.test\r\n")), ("CR CR LF", get(b"X: a\r\r\n")),
    ("bare LF hides a field", get(b"X: a\nHost: evil.test\r\n")), ("ESC in a value", get(b"X: \x1b[31m\r\n")), ("DEL in a value", get(b"X: a\x7f\r\n")),
    ("BEL in a value", get(b"X: \x07\r\n")), ("vertical tab in a value", get(b"X: a\x0bb\r\n")), ("a folded line", get(b"X: a\r\n b\r\n")),
    ("a line folded with a tab", get(b"X: a\r\n\tb\r\n")), ("a folded line at the start", get(b" X: a\r\n")), ("a line of blanks", get(b"   \r\n")),
    ("LF line ends", get().replace(b"\r\n", b"\n") + b"\r\n\r\n"), ("CR line ends", get().replace(b"\r\n", b"\r") + b"\r\n\r\n"),
    ("an LF behind the request line", get().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n")), ("LF CR", get().replace(b"\r\n", b"\n\r") + b"\r\n\r\n"),
    ("an LF instead of the blank line", get()[:-2] + b"\n\r\n\r\n"), ("300 fields", get(b"X: y\r\n" * 300)),
    ("a name of 70 KiB", get(b"X" * 70_000 + b": y\r\n")), ("a value of 70 KiB", get(b"X: " + b"y" * 70_000 + b"\r\n")),
    ("Upgrade to h2c", get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")),
    ("Upgrade to websocket", get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")),
    ("Upgrade to something", get(b"Upgrade: foo/2\r\n")),
])

HOSTS = table("host", [400], [
    (repr(host)[2:-1], get(host=host)) for host in (
        b"", b"Host:\r\n", b"Host: \r\n", HOST + HOST, HOST + b"Host: evil.test\r\n", b"Host: evil.test\r\n" + HOST, b"Host: evil.test\r\n",
        b"Host: gateway.cleanroom.internal, evil.test\r\n", b"Host: gateway.cleanroom.internal evil.test\r\n", b"Host: x@gateway.cleanroom.internal\r\n",
        b"Host: gateway.cleanroom.internal/x\r\n", b"Host: gateway.cleanroom.internal:8080\r\n", b"Host: gateway.cleanroom.internal:\r\n",
        b"Host: gateway.cleanroom.internal:080\r\n", b"Host: gateway.cleanroom.internal:-80\r\n", b"Host: gateway.cleanroom.internal:80:80\r\n",
        b"Host: gateway.cleanroom.internal?\r\n", b"Host: gateway.cleanroom.internal#\r\n", b"Host: http://gateway.cleanroom.internal\r\n",
        b"Host : gateway.cleanroom.internal\r\n", b" Host: gateway.cleanroom.internal\r\n", b"Host: gateway.cleanroom.internal\r\n .evil.test\r\n",
        b"Host: .gateway.cleanroom.internal\r\n", b"Host: gateway.cleanroom.internal..\r\n", b"Host: [::1]\r\n", b"Host: 127.0.0.1\r\n", b"Host: localhost\r\n",
        b"Host: gateway.cleanroom.internal\x00\r\n", b"Host: \x00gateway.cleanroom.internal\r\n", b"Host: gateway%2ecleanroom.internal\r\n",
        b"X-Host: gateway.cleanroom.internal\r\n", b"Host: *\r\n", b"Host: git.test\r\n")
])

REQUEST = post(b"Content-Length: 4\r\n", b"0000")
PIPELINES = table("pipeline", [200, 400], [
    ("garbage", REQUEST + b"garbage\r\n\r\n"), ("an empty line between", REQUEST + b"\r\n" + SMUGGLED), ("an LF between", REQUEST + b"\n" + SMUGGLED),
    ("a NUL between", REQUEST + b"\x00" + SMUGGLED), ("a byte too many in a body", post(b"Content-Length: 4\r\n", b"0000@") + SMUGGLED),
    ("a blank behind the last chunk", post(CHUNKED, b"4\r\n0000\r\n" + LAST + b" ") + SMUGGLED),
    ("a second with another Host", REQUEST + SMUGGLED.replace(b"gateway.cleanroom.internal", b"evil.test")),
    ("a second with two lengths", REQUEST + post(b"Content-Length: 4\r\nContent-Length: 5\r\n", b"0000")),
    ("an upgrade behind it", REQUEST + get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")),
]) + table("pipeline", [200, 403], [
    ("a byte too many makes another method", post(b"Content-Length: 4\r\n", b"0000X") + SMUGGLED),
    ("a byte too few as well", post(b"Content-Length: 5\r\n", b"0000") + SMUGGLED),
    ("so does one behind the last chunk", post(CHUNKED, b"4\r\n0000\r\n" + LAST + b"X") + SMUGGLED),
]) + table("pipeline", [200], [
    ("nothing after Connection: close", get(b"Connection: close\r\n") + SMUGGLED),
    ("nothing after HTTP/1.0", get(line=b"GET {G} HTTP/1.0") + SMUGGLED),
    ("Expect without a wait", post(b"Expect: 100-continue\r\nContent-Length: 4\r\n", b"0000")),
])

ENDS = table("end", [], [
    ("nothing", b""), ("half a line", b"GET {G} HT"), ("a head without its end", get()[:-2]), ("a head without its last LF", get()[:-1]),
]) + table("end", [400], [
    ("a body too short", post(b"Content-Length: 5\r\n", b"0000")), ("a body of nothing", post(b"Content-Length: 5\r\n")),
    ("an empty line first", b"\r\n" + get()), ("many empty lines first", b"\r\n" * 1000 + get()), ("an LF first", b"\n" + get()), ("a CR first", b"\r" + get()),
])

VECTORS = VALID + LENGTHS + BOTH + CODINGS + CHUNKS + LINES + FIELDS + HOSTS + PIPELINES + ENDS
