"""The head of a request: what is refused of it, and what it says in an ASGI scope. Knows no connection."""

import re
from typing import Any
from urllib.parse import unquote

import httptools

from service.api.problems import BAD_REQUEST, HEADERS_TOO_LARGE, ProblemType

HEAD_BYTES = 16 * 1024
"""Request line and headers at most; a larger head is 431."""

HOST = re.compile(rb"([A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?").fullmatch
"""RFC 9110, section 7.2."""


class Refused(Exception):
    """Raised within the parser for a request that the application shall not see."""

    def __init__(self, kind: ProblemType) -> None:
        super().__init__(kind.detail)
        self.type = kind


def read_head(
    parser: httptools.HttpRequestParser, target: bytes, fields: list[tuple[bytes, bytes]], measure: bool
) -> dict[str, Any]:
    """The scope's members that are the request's own; `measure` says that the head may be too large.

    Raises Refused, or httptools.HttpParserInvalidURLError.
    """
    if measure and len(target) + sum(len(name) + len(value) + 4 for name, value in fields) > HEAD_BYTES:
        raise Refused(HEADERS_TOO_LARGE)
    version, method = parser.get_http_version(), parser.get_method().decode()
    headers, hosts = [], []
    for name, value in fields:
        value = value.rstrip(b" \t")  # which the parser leaves
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding" and (version != "1.1" or value.lower() != b"chunked"):
            raise Refused(BAD_REQUEST)
        headers.append((name, value))
    hosted = len(hosts) == 1 and HOST(hosts[0]) if hosts else version == "1.0"
    if not hosted or version not in ("1.0", "1.1") or method == "CONNECT":
        raise Refused(BAD_REQUEST)
    url = httptools.parse_url(target)
    path = (url.path or b"/").decode()
    if "%" in path:  # an encoded slash separates nothing
        path = unquote(path.replace("%2F", "%252F").replace("%2f", "%252f"))
    return {
        "http_version": version,
        "method": method,
        "path": path,
        "raw_path": url.path or b"/",
        "query_string": url.query or b"",
        "headers": headers,
    }


def without_upgrade(parser: httptools.HttpRequestParser, target: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    """The head as it would be without its Upgrade, which a server may ignore (RFC 9110, section 7.8)."""
    line = b"%b %b HTTP/%b\r\n" % (parser.get_method(), target, parser.get_http_version().encode())
    return line + b"".join(b"%b: %b\r\n" % field for field in fields if field[0] != b"upgrade") + b"\r\n"
