"""Server-Timing: where a private answer's time went, for the developer tools of browsers (W3C Server Timing).

What is timed is a subclass of what is not, so that without SERVER_TIMING a request pays nothing for this.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from starlette.types import Message, Receive, Scope, Send

from service.api.endpoint import AuthenticatedEndpoint
from service.api.payloads import RequestHeaders
from service.auth.authenticator import User
from service.db.batching import Batch, Reads
from service.db.connection import Arguments, Lane
from service.db.database import Database
from service.db.statements import Row, Statement
from service.settings import Settings


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


class TimedDatabase(Database):
    """The database, which notes what each statement took, and how much of that was waiting for a connection."""

    async def open(self) -> None:
        await super().open()
        if self.reads:
            self.reads = TimedReads(self, self._settings)

    async def wait(self, deadline: float | None = None) -> Lane:
        started = perf_counter()
        try:
            return await super().wait(deadline)
        finally:
            waited = perf_counter() - started
            timing = current.get()
            timing.wait += waited
            timing.db -= waited  # which is counted from before the wait

    async def read_once(self, statement: Statement, arguments: Arguments, deadline: float | None = None) -> list[Any]:
        with counted("db"):
            return await super().read_once(statement, arguments, deadline)

    async def read_many(self, statement: Statement, calls: list[Arguments], deadline: float | None) -> list[Any]:
        with counted("db"):
            return await super().read_many(statement, calls, deadline)

    async def write(self, statement: Statement, arguments: Arguments) -> list[Any]:
        with counted("db"):
            return await super().write(statement, arguments)


class TimedReads(Reads):
    """Reads that travel together: each is on the wire for as long as its batch, and waits for the rest of its time."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__(database, settings)
        self._on_wire: WeakKeyDictionary[Awaitable[list[Row]], float] = WeakKeyDictionary()

    async def rows(self, statement: Statement, arguments: Arguments) -> Any:
        timing, started = current.get(), perf_counter()
        waiter = super().rows(statement, arguments)
        if not isinstance(waiter, asyncio.Future):
            return await waiter  # it flies alone, and the database counts for this request
        try:
            return await waiter
        finally:
            on_wire = self._on_wire.get(waiter, 0)
            timing.db += on_wire
            timing.wait += perf_counter() - started - on_wire

    async def _fly(self, batch: Batch) -> None:
        flight = Timing()
        current.set(flight)
        try:
            await super()._fly(batch)
        finally:
            for waiter in chain.from_iterable(batch.waiters.values()):
                self._on_wire[waiter] = flight.db
