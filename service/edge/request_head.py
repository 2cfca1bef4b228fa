"""The head of a request: validates it and makes the ASGI scope. Independent of a connection."""

import re
from collections import Counter
from typing import Any
from urllib.parse import unquote

import httptools

from service.api.problems import BAD_REQUEST, HEADERS_TOO_LARGE, ProblemType

HOST = re.compile(rb"([A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?").fullmatch
"""Matches a valid Host header: RFC 9110, section 7.2."""

ORIGIN_FORM = re.compile(rb"(/[!-\"$->@-~]*)(?:\?([!-\"$-~]*))?").fullmatch
"""The path and the query of a target that begins with a slash (RFC 9112, section 3.2.1): printable ASCII without `#`.

All other targets are parsed by httptools, which takes twice as long.
"""

SINGLE_HEADERS = frozenset((b"host", b"transfer-encoding", b"expect"))
"""A request that repeats one of these is refused: another server in the chain may use the other value."""


class RequestRefused(Exception):
    """Raised in a callback of the parser to refuse a request before the application gets it."""

    def __init__(self, type: ProblemType) -> None:
        super().__init__(type.detail)
        self.type = type


def read_head(
    parser: httptools.HttpRequestParser,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    size_limit: int | None,
    connection_scope: dict[str, Any],
) -> tuple[dict[str, Any], bool]:
    """Return the ASGI scope, and whether the client waits for 100 Continue.

    `size_limit` is None when the head cannot be larger than the limit. `connection_scope` has the members of the scope
    that are the same for all requests of the connection.

    Raises RequestRefused, or httptools.HttpParserInvalidURLError.
    """
    if size_limit and len(target) + sum(len(name) + len(value) + 4 for name, value in headers) > size_limit:
        raise RequestRefused(HEADERS_TOO_LARGE)
    version, method = parser.get_http_version(), parser.get_method().decode()
    by_name = dict(headers)
    host, encoding = by_name.get(b"host"), by_name.get(b"transfer-encoding")
    has_valid_host = HOST(host) if host is not None else version == "1.0"
    if not has_valid_host or version not in ("1.0", "1.1") or method == "CONNECT":
        raise RequestRefused(BAD_REQUEST)
    if encoding is not None and (version != "1.1" or encoding.lower() != b"chunked"):
        raise RequestRefused(BAD_REQUEST)
    if len(by_name) < len(headers) and SINGLE_HEADERS.intersection(_repeated(headers)):
        raise RequestRefused(BAD_REQUEST)
    raw_path, query = _path_and_query(target)
    path = raw_path.decode()
    if "%" in path:  # an encoded slash is not decoded, because it does not separate segments
        path = unquote(path.replace("%2F", "%252F").replace("%2f", "%252f"))
    scope = connection_scope.copy()
    scope["http_version"] = version
    scope["method"] = method
    scope["path"] = path
    scope["raw_path"] = raw_path
    scope["query_string"] = query
    scope["headers"] = headers.copy()  # the trailers of a body are appended to `headers`
    return scope, version == "1.1" and by_name.get(b"expect", b"").lower() == b"100-continue"


def _path_and_query(target: bytes) -> tuple[bytes, bytes]:
    if match := ORIGIN_FORM(target):
        path, query = match.groups(b"")
        return path, query
    url = httptools.parse_url(target)
    return url.path or b"/", url.query or b""


def _repeated(headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the names that occur more than once."""
    return [name for name, count in Counter(name for name, _ in headers).items() if count > 1]


def without_upgrade(parser: httptools.HttpRequestParser, target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the head without its Upgrade header, which a server may ignore (RFC 9110, section 7.8)."""
    request_line = b"%b %b HTTP/%b\r\n" % (parser.get_method(), target, parser.get_http_version().encode())
    return request_line + b"".join(b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade") + b"\r\n"
