"""A client of the service for asyncio: one connection, one call at a time. Each response is recorded with its times."""

import asyncio
from collections.abc import Iterable
from time import monotonic
from uuid import UUID

import msgspec

from service.auth.authenticator import issue_token
from service.settings import Settings
from tests import wire
from tests.wire import AsyncWire

GIVE_UP = 10.0
"""Seconds after which a call counts as unanswered."""


class Document(msgspec.Struct):
    """The members of a problem document that a frontend relies on (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class TimedAnswer(wire.Answer, frozen=True, kw_only=True):
    """The result of a call. `status` is 0 when there was no response; times are monotonic, in seconds."""

    operation: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def problem(self) -> Document | None:
        """The problem document; None when the response has none, or is a 503 without Retry-After."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        if self.status == 503 and "retry-after" not in self.headers:
            return None
        try:
            document = msgspec.json.decode(self.body, type=Document)
        except msgspec.DecodeError:
            return None
        return document if document.status == self.status else None


def p99(answers: Iterable[TimedAnswer]) -> float:
    """The 99th percentile of the durations, in seconds."""
    times = sorted(answer.seconds for answer in answers)
    return times[len(times) * 99 // 100]


class Caller:
    """A user with a token. `answers` are all responses, in order.

    Not `tests.serving.Caller`: hundreds of these run in one event loop, and each must count what httpx would retry or
    hide.
    """

    def __init__(self, settings: Settings, port: int, user_id: UUID) -> None:
        self.tasks = f"/api/{user_id}/tasks"
        self.answers: list[TimedAnswer] = []
        self.token = issue_token(settings, user_id, 3600)
        self._port = port
        self._wire: AsyncWire | None = None

    async def call(
        self, operation: str, method: str, path: str, body: object = None, due: float | None = None
    ) -> TimedAnswer:
        """Send a request and wait for the response. No retry, not even when the connection ends.

        A call that was `due` earlier counts from that time.
        """
        content = msgspec.json.encode(body) if body is not None else b""
        began = due or monotonic()
        try:
            async with asyncio.timeout(GIVE_UP):
                response = await self._exchange(self.request(method, path, content))
        except (OSError, EOFError):  # TimeoutError is an OSError
            self.close()
            response = wire.Answer(0, {}, b"")
        times = {"began": began, "ended": monotonic()}
        answer = TimedAnswer(response.status, response.headers, response.body, operation=operation, **times)
        self.answers.append(answer)
        return answer

    def request(self, method: str, path: str, content: bytes = b"", *headers: str) -> bytes:
        """The request as bytes."""
        own = (f"Authorization: Bearer {self.token}", f"Content-Length: {len(content)}")
        return wire.request(method, path, *own, *headers, body=content)

    async def _exchange(self, request: bytes) -> wire.Answer:
        """The response, on a new connection when there is none. Raises OSError or EOFError."""
        if self._wire is None or self._wire.ended:
            self._wire = await AsyncWire.connect(("127.0.0.1", self._port))
        answer = await self._wire.exchange(request)
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection. The next call opens another."""
        if self._wire:
            self._wire.close()
            self._wire = None
