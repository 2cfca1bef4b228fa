"""Request bodies and responses: the code that reads a body, decodes it as JSON, and sends a response."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec
from starlette.types import Receive, Send

from service.api.problems import CONTENT_TOO_LARGE, UNSUPPORTED_ENCODING, Headers, Problem, invalid

T = TypeVar("T")

RequestHeaders = dict[bytes, bytes]
"""A request's headers by lower-case name."""

JSON: Headers = ((b"content-type", b"application/json"),)
CLOSE: Headers = ((b"connection", b"close"),)
"""For a response that is sent before the whole body was read."""
PROBLEM: Headers = ((b"content-type", b"application/problem+json"),)

encode = msgspec.json.Encoder().encode


class ClientDisconnected(ConnectionError):
    """Raised by `send` for a piece of a body that cannot be delivered: the client is gone, or the method is HEAD."""


class ResponseAborted(Exception):
    """Raised by an endpoint that failed after it sent the head.

    The connection must be closed without the end of the body, so that the client sees that the body is incomplete.
    """


class Response(msgspec.Struct, frozen=True, gc=False):
    """A response. `more` yields further pieces of the body, which then has no Content-Length."""

    status: int
    body: bytes = b""
    headers: Headers = JSON
    more: AsyncIterator[bytes] | None = None


def problem_response(problem: Problem) -> Response:
    """The response that sends a problem document."""
    return Response(problem.type.status, problem.document(), PROBLEM + problem.headers)


async def send_response(send: Send, response: Response, headers: Headers) -> None:
    """Send `response` with `headers` added to its own."""
    sent = [*response.headers, *headers]  # a list, because middleware appends to it
    if response.more is None:
        if response.status not in (204, 304):
            sent.append((b"content-length", b"%d" % len(response.body)))
        send_whole = getattr(send, "send_whole", None)  # the edge's send has it, a middleware's has not
        if send_whole and send_whole(response.status, sent, response.body):
            return
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
    """The whole body. Raises Problem(UNSUPPORTED_ENCODING), or Problem(CONTENT_TOO_LARGE) above `limit` bytes."""
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        raise Problem(UNSUPPORTED_ENCODING)
    length = headers.get(b"content-length")
    if length is None and b"transfer-encoding" not in headers:
        return b""  # RFC 9112, section 6.3
    if length is not None and int(length) > limit:
        raise Problem(CONTENT_TOO_LARGE, headers=CLOSE)
    body, more = bytearray(), True  # a bytearray grows without a copy of what it has
    while more:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            raise Problem(CONTENT_TOO_LARGE, headers=CLOSE)
        more = message.get("more_body", False)
    if message["type"] == "http.disconnect":
        raise invalid(["body"], "incomplete")
    return bytes(body)


class JSONBody(Generic[T]):
    """A JSON request body of one type. `messages` has a sentence for each error that its members can have."""

    def __init__(self, type: type[T], messages: Mapping[str, str]) -> None:
        self._decoder = msgspec.json.Decoder(type)
        self._messages = messages

    def decode(self, body: bytes) -> T:
        """The body as the type. Raises Problem(INVALID) that names the member that is not valid."""
        try:
            text = body.decode()  # msgspec checks the UTF-8 of members that it keeps only
            return self._decoder.decode(text.removeprefix("\ufeff"))  # a byte order mark
        except msgspec.ValidationError as error:
            raise self._validation_problem(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._syntax_problem(body) from None

    def _validation_problem(self, reason: str) -> Problem:
        """msgspec's message as a problem: "Expected `str`, got `null` - at `$.title`" is ["body", "title"], "type"."""
        reason, _, path = reason.partition(" - at `$")
        loc = ["body", *path.rstrip("`").strip(".").split(".")] if path else ["body"]
        if reason.startswith("Object missing required field"):
            return invalid([*loc, reason.split("`")[1]], "missing", self._messages)
        for words, type in (("matching regex", "pattern"), ("length >=", "too_short"), ("length <=", "too_long")):
            if words in reason:
                return invalid(loc, type, self._messages)
        return invalid(loc, "type", self._messages)

    def _syntax_problem(self, body: bytes) -> Problem:
        """A problem for a body that msgspec cannot parse.

        msgspec reports half of a surrogate pair with the same words as malformed JSON. Python's parser accepts one,
        which distinguishes the two. Only members that hold text have a message for it.
        """
        if b"\\ud" in body.lower():
            try:
                members: Any = json.loads(body)
            except (ValueError, RecursionError):
                members = None
            for name, value in members.items() if isinstance(members, dict) else ():
                has_message = f"body.{name}.surrogate" in self._messages
                if has_message and isinstance(value, str) and not _is_encodable(value):
                    return invalid(["body", name], "surrogate", self._messages)
        return invalid(["body"], "json_invalid")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
