"""Reads of one statement that are waiting at the same moment go out as one pipelined round trip.

Each keeps its own bound user id, and gets only rows that carry its own arguments. Writes never
come here: together they would share a transaction, a lock wait and a failure.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Any

from service.errors import OVERLOADED, UNAVAILABLE, Problem
from service.lanes import RETRY_DELAY, worth_another_try
from service.settings import Settings
from service.statements import Row, Statement
from service.sweep import Sweep

if TYPE_CHECKING:
    from service.database import Database

FLIGHTS = 2
"""Batches under way at once: few connections beat many, since waiting reads then travel together."""

BATCH_SIZE = 64
"""Reads in one batch at most."""

SLOW_SECONDS = 0.05
"""A batch under way for longer is waited for no more by those behind it: its connection may be dead."""

Waiter = asyncio.Future[list[Row]]


class Batch:
    """Reads of one statement, by their arguments; the same read asked twice is sent once."""

    __slots__ = ("deadline", "size", "statement", "waiters")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.waiters: defaultdict[tuple[Any, ...], list[Waiter]] = defaultdict(list)
        self.size = 0
        self.deadline: float | None = None  # by the loop's clock, once no flight was free for it

    def answer(self, arguments: tuple[Any, ...], rows: list[Row]) -> None:
        for waiter in self.waiters[arguments]:
            if not waiter.done():  # its caller may have left
                waiter.set_result(rows)

    def refuse(self, arguments: tuple[Any, ...], error: Exception) -> None:
        for waiter in self.waiters[arguments]:
            if not waiter.done():
                waiter.set_exception(error)

    def refuse_all(self, error: Exception) -> None:
        for arguments in self.waiters:
            self.refuse(arguments, error)


class Reads:
    """The reads that wait, and the batches under way."""

    def __init__(self, database: "Database", settings: Settings) -> None:
        self.waiting = 0
        self._database = database
        self._settings = settings
        self._open: dict[Statement, Batch] = {}
        self._queue: deque[Batch] = deque()
        self._flights: dict[asyncio.Task[None], float] = {}
        self._sweep = Sweep(self._refuse_late)
        self._loop = asyncio.get_running_loop()

    def rows(self, statement: Statement, arguments: tuple[Any, ...]) -> Awaitable[list[Row]]:
        """The rows of one read. Raises Problem(OVERLOADED) at once when too many wait."""
        if self.waiting >= self._settings.max_waiting:
            self._database.shed += 1
            raise Problem(OVERLOADED)
        batch = self._open.get(statement)
        if batch is None:
            batch = self._open[statement] = Batch(statement)
            # after every request of this turn of the loop has been read; with no flight free, this bounds its wait
            self._loop.call_soon(self._send)
            self._queue.append(batch)
        waiter = self._loop.create_future()
        batch.waiters[arguments].append(waiter)
        batch.size += 1
        self.waiting += 1
        if batch.size == BATCH_SIZE:
            del self._open[statement]
        return waiter

    def _send(self) -> None:
        now = self._loop.time()
        while self._queue and self._may_fly(now):
            flight = self._loop.create_task(self._fly(self._leave()))
            self._flights[flight] = now
            flight.add_done_callback(self._landed)
        for batch in self._queue:
            batch.deadline = batch.deadline or now + self._settings.acquire_timeout
        if self._queue:
            self._sweep.begin()

    def _may_fly(self, now: float) -> bool:
        if len(self._flights) < FLIGHTS:
            return True
        slow = sum(now - since > SLOW_SECONDS for since in self._flights.values())
        return len(self._flights) - slow < FLIGHTS and self._database.has_room

    def _refuse_late(self) -> bool:
        while self._queue and (self._queue[0].deadline or inf) <= self._loop.time():
            batch = self._leave()
            self._database.timeouts += batch.size
            batch.refuse_all(Problem(UNAVAILABLE))
        self._send()  # for a flight may have become slow
        return bool(self._queue)

    def _leave(self) -> Batch:
        batch = self._queue.popleft()
        if self._open.get(batch.statement) is batch:
            del self._open[batch.statement]
        self.waiting -= batch.size
        return batch

    def _landed(self, flight: asyncio.Task[None]) -> None:
        del self._flights[flight]
        self._send()

    async def _fly(self, batch: Batch) -> None:
        statement, calls = batch.statement, list(batch.waiters)
        deadline = batch.deadline  # what it waited here, it need not wait for a lane
        if len(calls) == 1:
            await self._fly_alone(batch, calls[0], self._database.read(statement, calls[0], deadline))
            return
        started = time.monotonic()
        try:
            rows = await self._database.read_many(statement, calls, deadline)
        except Exception as error:  # it belongs to the callers, unless each of them may try alone
            if isinstance(error, Problem) or not worth_another_try(error, started):
                batch.refuse_all(error)
                return
            await asyncio.sleep(RETRY_DELAY)
            # whichever of them is to blame: each on its own finds out
            read = self._database.read_once
            await asyncio.gather(*(self._fly_alone(batch, call, read(statement, call, deadline)) for call in calls))
        else:
            found: defaultdict[Any, list[Row]] = defaultdict(list)
            for key, run in groupby(rows, statement.key_of_row):  # hashing each row's own costs a list of 20 3 us
                found[key].extend(run)
            for arguments in calls:
                batch.answer(arguments, found[statement.key_of_call(arguments)])

    async def _fly_alone(self, batch: Batch, arguments: tuple[Any, ...], read: Awaitable[list[Row]]) -> None:
        try:
            batch.answer(arguments, await read)
        except Exception as error:  # it belongs to the caller, who awaits it
            batch.refuse(arguments, error)
