"""Server-Timing: where a private answer's time went, for the developer tools of browsers (W3C Server Timing).

Without SERVER_TIMING a request pays nothing for this: the endpoint is another, and the database calls nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

import msgspec
from starlette.types import Message, Receive, Scope, Send

from service.api.endpoint import AuthenticatedEndpoint
from service.api.payloads import RequestHeaders
from service.auth.authenticator import User


class Timing(msgspec.Struct):
    """Seconds until the user was known, without a connection, and on the wire to the database and back."""

    auth: float = 0
    wait: float = 0
    db: float = 0

    def header(self) -> bytes:
        """The header's value, in milliseconds."""
        parts = ((name, getattr(self, name) * 1000) for name in self.__struct_fields__)
        return ", ".join(f"{name};dur={milliseconds:.3f}" for name, milliseconds in parts).encode()


current: ContextVar[Timing] = ContextVar("current")
"""The timing of the request, or of the batch of reads, that the running task works for."""


@contextmanager
def counted(part: str) -> Iterator[None]:
    """Adds the time within it to one part of the current timing."""
    started = perf_counter()
    try:
        yield
    finally:
        timing = current.get()
        setattr(timing, part, getattr(timing, part) + perf_counter() - started)


class TimedEndpoint(AuthenticatedEndpoint):
    """A private endpoint that answers with Server-Timing, whatever its answer is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        timing = Timing()
        current.set(timing)

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"server-timing", timing.header()))
            await send(message)

        await super().__call__(scope, receive, send_timed)

    async def _user(self, headers: RequestHeaders) -> User:
        with counted("auth"):
            return await super()._user(headers)


def add_database_time(waited: float, ran: float) -> None:
    """Add a statement's seconds to the timing of the request whose task runs this."""
    timing = current.get()
    timing.wait += waited
    timing.db += ran
