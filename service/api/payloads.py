"""Bytes in, bytes out: the only code that reads a body, checks it, or sends an answer. Knows no task."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar

import msgspec
from starlette.types import Receive, Send

from service.api.problems import CONTENT_TOO_LARGE, UNSUPPORTED_ENCODING, Headers, Problem, invalid

T = TypeVar("T")
RequestHeaders = dict[bytes, bytes]
"""A request's headers by lower-case name."""

JSON: Headers = ((b"content-type", b"application/json"),)
CLOSE: Headers = ((b"connection", b"close"),)
"""For an answer given before the body was read."""
PROBLEM: Headers = ((b"content-type", b"application/problem+json"),)

encode = msgspec.json.Encoder().encode


class ClientDisconnected(ConnectionError):
    """Raised by `send` for a part of an answer that nobody will hear: the caller has left, or asked for its head."""


class ResponseAborted(Exception):
    """Raised by an endpoint whose answer broke off after its head: the connection must end without the answer's end."""


class Response(msgspec.Struct, frozen=True, gc=False):
    """An answer. `more` yields further pieces of the body, which then has no Content-Length."""

    status: int
    body: bytes = b""
    headers: Headers = JSON
    more: AsyncIterator[bytes] | None = None


def problem_response(problem: Problem) -> Response:
    """The answer that a problem becomes."""
    return Response(problem.type.status, problem.document(), PROBLEM + problem.headers)


async def send_response(send: Send, response: Response, headers: Headers) -> None:
    """Sends `response`, with `headers` added to its own."""
    sent = [*response.headers, *headers]  # a list, which middleware may add to
    if response.more is None and response.status not in (204, 304):
        sent.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": sent})
    if response.more is None:
        await send({"type": "http.response.body", "body": response.body})
        return
    with suppress(ClientDisconnected):
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        async for piece in response.more:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def read_body(receive: Receive, headers: RequestHeaders, limit: int) -> bytes:
    """The whole body. Raises Problem(UNSUPPORTED_ENCODING), or Problem(CONTENT_TOO_LARGE) past `limit` bytes."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem(UNSUPPORTED_ENCODING)
    if int(headers.get(b"content-length", b"0")) > limit:
        raise Problem(CONTENT_TOO_LARGE, headers=CLOSE)
    if headers.keys().isdisjoint((b"content-length", b"transfer-encoding")):
        return b""  # RFC 9112, section 6.3
    body, more = bytearray(), True  # which grows without being copied
    while more:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            raise Problem(CONTENT_TOO_LARGE, headers=CLOSE)
        more = message.get("more_body", False)
    if message["type"] == "http.disconnect":
        raise invalid(["body"], "was cut short", "incomplete")
    return bytes(body)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The body as the decoder's type. Raises Problem(INVALID) that names the member at fault."""
    try:
        return decoder.decode(body.decode())  # msgspec sees bad UTF-8 only in what it keeps
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid(["body"], "is not valid JSON", "json_invalid") from None


def _explained(reason: str) -> Problem:
    """msgspec's words as a problem: "Expected `str`, got `null` - at `$.title`" names body.title."""
    reason, _, path = reason.partition(" - at `$")
    loc = ["body", *path.rstrip("`").strip(".").split(".")] if path else ["body"]
    if reason.startswith("Object missing required field"):
        return invalid([*loc, reason.split("`")[1]], "is required", "missing")
    if "matching regex" in reason:
        return invalid(loc, "is blank or has a character that cannot be stored (U+0000)", "pattern")
    if "length" in reason:
        return invalid(loc, reason[0].lower() + reason[1:].replace("`", ""), "length")
    return invalid(loc, reason[0].lower() + reason[1:].replace("`", ""), "type")
