"""Reads of one statement that are waiting at the same moment go out as one pipelined round trip.

Each keeps its own bound user id, and gets only rows that carry its own arguments. Writes never
come here: together they would share a transaction, a lock wait and a failure.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from service.db.connection import RETRY_DELAY, worth_another_try
from service.db.errors import DatabaseUnavailable, PoolTimeout, QueueFull
from service.db.statements import Row, Statement
from service.db.sweep import Sweep
from service.settings import Settings

if TYPE_CHECKING:
    from service.db.database import Database

FLIGHTS = 2
"""Batches under way at once: few connections beat many, since waiting reads then travel together."""

BATCH_SIZE = 64
"""Reads in one batch at most."""

SLOW_SECONDS = 0.05
"""A batch under way for longer is waited for no more by those behind it: its connection may be dead."""


class Batch:
    """Reads of one statement, by their arguments; the same read asked twice is sent once."""

    def __init__(self, statement: Statement, deadline: float) -> None:
        self.statement = statement
        self.deadline = deadline  # by the loop's clock: what a batch waits for a flight, it need not wait for a lane
        self.waiters: defaultdict[tuple[Any, ...], list[asyncio.Future[list[Row]]]] = defaultdict(list)
        self.size = 0

    def settle(self, arguments: tuple[Any, ...], outcome: list[Row] | BaseException) -> None:
        for waiter in self.waiters[arguments]:
            if waiter.done():
                continue  # its caller has left
            if isinstance(outcome, BaseException):
                waiter.set_exception(outcome)
            else:
                waiter.set_result(outcome)


class Reads:
    """The reads that wait, and the batches under way."""

    def __init__(self, database: "Database", settings: Settings) -> None:
        self.waiting = 0
        self._database = database
        self._settings = settings
        self._open: dict[Statement, Batch] = {}
        self._queue: deque[Batch] = deque()
        self._flights: dict[object, float] = {}  # since when each is under way
        self._one_by_one = True  # the last read met no other, and so may the next
        self._sweep = Sweep(self._refuse_late)
        self._loop = asyncio.get_running_loop()

    def rows(self, statement: Statement, arguments: tuple[Any, ...]) -> Awaitable[list[Row]]:
        """The rows of one read. Raises QueueFull at once."""
        if self.waiting >= self._settings.max_waiting:
            self._database.shed += 1
            raise QueueFull
        if self._one_by_one and not self._flights and not self._queue:
            self._one_by_one = False
            return self._fly_now(statement, arguments)
        batch = self._open.get(statement)
        if batch is None:
            batch = self._open[statement] = Batch(statement, self._loop.time() + self._settings.acquire_timeout)
            self._queue.append(batch)
            self._loop.call_soon(self._send)  # after every request of this turn of the loop has been read
        waiter = self._loop.create_future()
        batch.waiters[arguments].append(waiter)
        batch.size += 1
        self.waiting += 1
        if batch.size == BATCH_SIZE:
            del self._open[statement]
        return waiter

    async def _fly_now(self, statement: Statement, arguments: tuple[Any, ...]) -> list[Row]:
        # without a batch, a task and a turn of the loop: a read that meets no other costs 10 % less
        flight = object()
        self._flights[flight] = self._loop.time()
        try:
            return await self._database.read(statement, arguments)
        finally:
            self._landed(flight)
            self._one_by_one = not self._flights

    def _send(self) -> None:
        now = self._loop.time()
        while self._queue and self._may_fly(now):
            flight = self._loop.create_task(self._fly(self._leave()))
            self._flights[flight] = now
            flight.add_done_callback(self._landed)
        if self._queue:
            self._sweep.begin()

    def _may_fly(self, now: float) -> bool:
        return len(self._flights) < FLIGHTS or (
            sum(now - since <= SLOW_SECONDS for since in self._flights.values()) < FLIGHTS and self._database.has_room
        )

    def _refuse_late(self) -> None:
        while self._queue and self._queue[0].deadline <= self._loop.time():
            batch = self._leave()
            self._database.timeouts += batch.size
            for call in batch.waiters:
                batch.settle(call, PoolTimeout())
        self._send()  # for a flight may have become slow

    def _leave(self) -> Batch:
        batch = self._queue.popleft()
        if self._open.get(batch.statement) is batch:
            del self._open[batch.statement]
        self.waiting -= batch.size
        return batch

    def _landed(self, flight: object) -> None:
        del self._flights[flight]
        self._send()

    async def _fly(self, batch: Batch) -> None:
        statement, calls, started = batch.statement, list(batch.waiters), time.monotonic()
        self._one_by_one = batch.size == len(self._flights) == 1
        try:
            rows = await self._database.read_many(statement, calls, batch.deadline)
        except Exception as error:  # it belongs to the callers, unless each of them may try alone
            if isinstance(error, (DatabaseUnavailable, PoolTimeout, QueueFull)) or not worth_another_try(
                error, started
            ):
                outcomes: list[list[Row] | BaseException] = [error] * len(calls)
            else:
                await asyncio.sleep(RETRY_DELAY)
                again = (self._database.read_once(statement, call, batch.deadline) for call in calls)
                outcomes = await asyncio.gather(*again, return_exceptions=True)
        else:
            found: defaultdict[Any, list[Row]] = defaultdict(list)
            for key, run in groupby(rows, statement.key_of_row):  # hashing each row's own costs a list of 20 3 us
                found[key].extend(run)
            outcomes = [found[statement.key_of_call(call)] for call in calls]
        for call, outcome in zip(calls, outcomes, strict=True):
            batch.settle(call, outcome)
