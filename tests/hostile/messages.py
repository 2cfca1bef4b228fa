"""Messages that are not HTTP, or ambiguous HTTP (request smuggling)."""

from tests.hostile.row import Row, call

TASK = b'{"title": "x"}'


def post(what: str, status: int, *headers: str, body: bytes = TASK) -> Row:
    """A create_task request. Its headers give the length of the body."""
    return call(what, status, "POST", "{tasks}", *headers, body=body)


def chunked(what: str, status: int, body: bytes) -> Row:
    return post(what, status, "Transfer-Encoding: chunked", body=body)


def raw(what: str, status: int, sent: bytes) -> Row:
    return Row(what, status, lambda _: sent)


def get(what: str, status: int, *headers: str, method: str = "GET", path: str = "{tasks}") -> Row:
    return call(what, status, method, path, *headers)


CHUNK = b"e\r\n" + TASK + b"\r\n0\r\n\r\n"
LINE = b"GET /livez HTTP/1.1\r\n"
HELLO = bytes.fromhex("16030100a5010000a10303") + bytes(100)

ROWS = [
    post("61 Content-Length, then Transfer-Encoding", 400, "Content-Length: 14", "Transfer-Encoding: chunked"),
    post(
        "61 Transfer-Encoding, then Content-Length", 400, "Transfer-Encoding: chunked", "Content-Length: 14", body=CHUNK
    ),
    post("62 Content-Length twice", 400, "Content-Length: 14", "Content-Length: 14"),
    post("62 Content-Length and another", 400, "Content-Length: 14", "Content-Length: 5"),
    *(
        post(f"62 Content-Length {length!r}", 400, f"Content-Length: {length}")
        for length in ("14, 14", "+14", "-1", "0xe", "1_4", "14.0", "", "1" * 30, "\xb2")
    ),
    *(
        post(f"63 Transfer-Encoding {coding!r}", 400, f"Transfer-Encoding: {coding}", body=CHUNK)
        for coding in (
            "xchunked",
            "chunked, identity",
            "identity",
            "gzip, chunked",
            "chunked, chunked",
            "",
            "chunked;q=1",
        )
    ),
    post("63 Transfer-Encoding twice", 400, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNK),
    post("63 a space before the colon", 400, "Transfer-Encoding : chunked", body=CHUNK),
    post("63 a tab before chunked", 201, "Transfer-Encoding:\tchunked", body=CHUNK),
    post("63 chunked in capitals", 201, "Transfer-Encoding: Chunked", body=CHUNK),
    chunked("64 no line end after a chunk", 400, b"e\r\n" + TASK + b"0\r\n\r\n"),
    chunked("64 a chunk's size and a line feed", 400, b"e\n" + TASK + b"\r\n0\r\n\r\n"),
    chunked("64 a chunk's size in no digits", 400, b"x\r\n"),
    chunked("64 a chunk's size below zero", 400, b"-1\r\n"),
    chunked("64 a chunk's size of 30 digits", 400, b"f" * 30 + b"\r\n"),
    chunked("64 a chunk's size in 0x", 400, b"0xe\r\n" + TASK + b"\r\n0\r\n\r\n"),
    chunked("64 an extension with a line feed", 400, b"e;a\nb\r\n" + TASK + b"\r\n0\r\n\r\n"),
    chunked("64 an extension", 201, b"e;why=not\r\n" + TASK + b"\r\n0\r\n\r\n"),
    raw("65 line feeds alone", 400, b"GET /livez HTTP/1.1\nHost: x\n\n"),
    raw("65 a line folded", 400, LINE + b"Host: x\r\nX: a\r\n b\r\n\r\n"),
    raw("65 a folded line first", 400, LINE + b" Host: x\r\n\r\n"),
    raw("65 NUL in a value", 400, LINE + b"Host: x\r\nX: a\0b\r\n\r\n"),
    raw("65 NUL in a name", 400, LINE + b"Host: x\r\nX\0: a\r\n\r\n"),
    raw("65 a carriage return in a value", 400, LINE + b"Host: x\r\nX: a\rb\r\n\r\n"),
    raw("65 no name", 400, LINE + b"Host: x\r\n: a\r\n\r\n"),
    raw("65 no colon", 400, LINE + b"Host: x\r\nX\r\n\r\n"),
    raw("66 no Host", 400, LINE + b"\r\n"),
    raw("66 no Host in 1.0", 200, b"GET /livez HTTP/1.0\r\n\r\n"),
    raw("66 two Hosts", 400, LINE + b"Host: x\r\nHost: x\r\n\r\n"),
    *(
        raw(f"66 Host {host.decode('latin-1')!r}", 400, LINE + b"Host: " + host + b"\r\n\r\n")
        for host in (b"", b"a b", b"a/b", b"u@h", b"a:b", b"[::1", b"\xff", b"a\\b", b"a?b", b'"', b"a:80:80")
    ),
    *(
        raw(f"66 Host {host!r}", 200, f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        for host in ("[::1]:4000", "127.0.0.1", "a_b.example:", "A.example. \t")
    ),
    raw("67 a header of 70 KB", 431, LINE + b"Host: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    raw("67 a header of 10 MB", 431, LINE + b"Host: x\r\nX: " + b"x" * 10_000_000 + b"\r\n\r\n"),
    raw("67 20,000 headers", 431, LINE + b"Host: x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"),
    raw("68 a method in lower case", 400, b"get /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    raw("68 a method that is none", 400, b"GETT /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    get("68 TRACE", 405, method="TRACE"),
    get("68 PROPFIND", 405, method="PROPFIND"),
    get("68 DELETE of all", 405, method="DELETE"),
    get("68 OPTIONS", 405, method="OPTIONS"),
    get("68 OPTIONS *", 404, method="OPTIONS", path="*"),
    get("68 CONNECT", 400, method="CONNECT"),
    get("68 CONNECT to another host", 400, method="CONNECT", path="evil.example:443"),
    get("68 HEAD", 200, method="HEAD"),
    raw("68 a space too many", 200, b"GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    raw("69 HTTP/0.9", 400, b"GET /livez\r\n\r\n"),
    *(
        raw(f"69 HTTP/{version}", 400, f"GET /livez HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        for version in ("0.9", "1.2", "2.0", "3.7", "1", "1.1.1", "11", "-1.1")
    ),
    raw("69 HTTP/2 without asking", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    raw("69 TLS", 400, HELLO),
    raw("69 SSH", 400, b"SSH-2.0-OpenSSH_9.2\r\n"),
    raw("69 Redis", 400, b"*1\r\n$4\r\nPING\r\n"),
    get("69 upgrade to HTTP/2", 200, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    get("69 upgrade to a WebSocket", 200, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    call("70 GET with a body", 200, "GET", "{tasks}", body=b"x" * 100_000),
    call(
        "70 DELETE of nothing with a body",
        404,
        "DELETE",
        "{tasks}/" + "0" * 8 + "-0000-0000-0000-" + "0" * 12,
        body=TASK,
    ),
    get("71 X-Forwarded", 200, "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: x"),
    get("71 X-HTTP-Method-Override", 200, "X-HTTP-Method-Override: DELETE", "X-Original-URL: /admin"),
    get("71 X-Request-ID of 10 KB", 200, "X-Request-ID: " + "x" * 10_000),
    get("71 X-Request-ID of no ASCII", 200, "X-Request-ID: " + "\xe4" * 200),
    get("71 X-Request-ID with a line end", 200, "X-Request-ID: x\r\nX-Evil: evil"),
    get("71 X-Request-ID with half a line end", 400, "X-Request-ID: x\nX-Evil: evil"),
    get("71 X-Request-ID with %0d%0a", 200, "X-Request-ID: x%0d%0aX-Evil: evil"),
    get("72 traceparent", 200, "traceparent: 00-zz-1-" + "f" * 99),
]
