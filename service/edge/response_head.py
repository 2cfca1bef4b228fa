"""Encodes the head of a response, and whole responses to requests that the application does not get."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus

from service.api.payloads import problem_response
from service.api.problems import Headers, Problem, ProblemType

LENGTH = b"content-length"
STATUS_LINES = {status.value: f"HTTP/1.1 {status} {status.phrase}".encode() for status in HTTPStatus}


def encode_head(
    status: int, headers: Sequence[tuple[bytes, bytes]], *, until_close: bool, close: bool
) -> tuple[bytes, bool]:
    """Return the head, and whether the body is chunked.

    `until_close`: the body ends with the connection. `close`: add `Connection: close`.
    Names and values are not checked, because the service made all of them.
    """
    has_length = until_close or status in (204, 304)
    if not has_length and headers:  # send_response() puts it last; middleware may add others after it
        has_length = headers[-1][0] == LENGTH or any(name == LENGTH for name, _ in headers)
    lines = [STATUS_LINES[status], *map(b": ".join, headers)]
    if not has_length:
        lines.append(b"transfer-encoding: chunked")
    if close:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n", not has_length


def final_response(type: ProblemType, added_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode a whole response with `Connection: close`."""
    response = problem_response(Problem(type))
    headers: Headers = (*added_headers, *response.headers, (LENGTH, b"%d" % len(response.body)))
    return encode_head(response.status, headers, until_close=False, close=True)[0] + response.body
