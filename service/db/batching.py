"""Sends the reads of one statement that wait at the same time as one pipelined round trip.

Each read has its own bound user id, and is given only the rows that have its own arguments. Nothing else separates
users here, so a row without a matching read is dropped. Writes are never batched: they would share a transaction, a
lock wait and a failure. The pattern is that of GraphQL's DataLoader.
"""

import asyncio
from collections import defaultdict
from functools import partial
from itertools import groupby
from time import perf_counter
from typing import Any, Protocol

from service.db.batch import Batch, Outcome
from service.db.connection import Connection
from service.db.errors import ConnectionLost
from service.db.queue import BATCHES, BATCHES_IN_FLIGHT, Queue, Waiter
from service.db.statements import HEAVY_ROWS, Row, Statement
from service.settings import Settings

BATCH_SIZE = 64
"""Reads in one batch at most."""

BATCH_ROWS = 1000
"""The most rows that a batch may be expected to return, by a moving average of the rows of its statement's reads."""

HEAVY_READS = 10_000
"""How many heavy reads are remembered. The oldest is dropped first."""

SLOW_SECONDS = 0.05
"""A batch in flight for longer than this does not count against BATCHES_IN_FLIGHT: its connection may be dead."""


class Connections(Protocol):
    """The part of the pool that batching uses."""

    queue: Queue

    def check_queue_limit(self) -> None: ...
    def enqueue(self, waiter: Waiter) -> None: ...
    def dispatch(self) -> None: ...
    def release(self, connection: Connection) -> None: ...


class ReadBatcher:
    """The open batches, which further reads may join, and the batches in flight.

    While `uncontended` is true, the next read is sent alone and at once: none is in flight, and the last one was alone.
    `batches` counts the batches sent, and `batched_reads` the reads in them.
    """

    def __init__(self, pool: Connections, settings: Settings) -> None:
        self.uncontended = True
        self.batches = self.batched_reads = 0
        self.heavy: dict[tuple[Any, ...], None] = {}
        self._pool = pool
        self._queue = pool.queue
        self._wait_seconds = settings.acquire_timeout
        self._max_waiting = settings.max_waiting
        self._open: dict[Statement, Batch] = {}
        self._in_flight: dict[object, float] = {}  # since when
        self._mean_rows: defaultdict[Statement, float] = defaultdict(float)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin_alone(self) -> None:
        """Count a read that is sent alone as a batch in flight, so that reads during it are batched."""
        self.uncontended = False
        self._in_flight[self] = self._loop.time()

    def end_alone(self) -> None:
        """The read that was sent alone has ended."""
        del self._in_flight[self]
        self.uncontended = not self._in_flight and not self._open
        if self._open:
            self._pool.dispatch()

    def join(self, statement: Statement, arguments: tuple[Any, ...]) -> tuple[Batch, asyncio.Future[list[Row]]]:
        """Add a read to a batch. Returns the batch and a future of the read's rows.

        Raises QueueFull and DatabaseUnavailable at once.
        """
        queue = self._queue
        batch = self._open.get(statement)
        if batch is None or queue.size >= self._max_waiting:
            self._pool.check_queue_limit()
            batch = batch or self._open_batch(statement)
        caller = self._loop.create_future()
        batch.callers[arguments].append(caller)
        batch.size += 1
        queue.size += 1
        if batch.size == batch.capacity:
            self.close(batch)
        return batch, caller

    def _open_batch(self, statement: Statement) -> Batch:
        capacity = int(BATCH_ROWS / max(self._mean_rows[statement], BATCH_ROWS / BATCH_SIZE))
        deadline = self._loop.time() + self._wait_seconds
        batch = Batch(BATCHES, deadline, size=0, statement=statement, capacity=capacity, batcher=self)
        self._open[statement] = batch
        self._pool.enqueue(batch)
        self._loop.call_soon(self._pool.dispatch)  # after all requests read in this iteration of the loop have joined
        return batch

    def close(self, batch: Batch) -> None:
        """Let no further read join the batch."""
        if self._open.get(batch.statement) is batch:
            del self._open[batch.statement]

    def can_dispatch(self) -> bool:
        """Whether another batch may start."""
        if len(self._in_flight) < BATCHES_IN_FLIGHT:
            return True
        recent = self._loop.time() - SLOW_SECONDS
        return sum(since >= recent for since in self._in_flight.values()) < BATCHES_IN_FLIGHT

    def start(self, batch: Batch, connection: Connection) -> None:
        """Send a batch."""
        self.close(batch)
        batch.started, self._in_flight[batch] = perf_counter(), self._loop.time()
        self.uncontended = False
        self.batches += 1
        self.batched_reads += batch.size
        task = self._loop.create_task(self._run(batch, connection))
        self._tasks.add(task)
        # A callback runs after the callers have continued, so that the reads they send next join the next batch.
        task.add_done_callback(partial(self._on_done, batch, connection))

    async def _run(self, batch: Batch, connection: Connection) -> None:
        try:
            outcomes = await self._fetch(connection, batch.statement, list(batch.callers))
        except Exception as error:  # any error, such as rows without the batch columns, must end the callers' wait
            outcomes = [error] * len(batch.callers)
        batch.finished = perf_counter()
        batch.resolve(outcomes)

    def _on_done(self, batch: Batch, connection: Connection, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        del self._in_flight[batch]
        self.uncontended = batch.size == 1 and not self._in_flight and not self._open
        self._pool.release(connection)  # which starts the next batch

    async def _fetch(self, connection: Connection, statement: Statement, calls: list[Any]) -> list[Outcome]:
        """Each call's rows or exception, in the order of the calls."""
        try:
            rows = await (
                connection.run_many(statement, calls) if len(calls) > 1 else connection.run(statement, calls[0])
            )
        except Exception as error:  # any error is the outcome of one call, or of all
            returns_one_row = 0 < self._mean_rows[statement] <= 1
            if isinstance(error.__cause__, TimeoutError) and len(calls) > 1 and not returns_one_row:
                for call in calls:  # mark all as heavy: the next read of one that is not removes its mark
                    self.note_weight(statement, call[: len(call) - len(statement.limit_arguments)], HEAVY_ROWS)
            if (
                len(calls) == 1
                or not _is_of_one_call(error)
                or (connection.needs_check and not await connection.ping())
            ):
                return [error] * len(calls)
            half = len(calls) // 2  # isolating one failing call takes 2 log2(size) further round trips
            halves = calls[:half], calls[half:]
            return [outcome for part in halves for outcome in await self._fetch(connection, statement, part)]
        found: defaultdict[Any, list[Row]] = defaultdict(list)
        for key, run in groupby(rows, statement.key_of_row):  # hashing the key of each row would cost 3 us for 20 rows
            found[key].extend(run)
        self._mean_rows[statement] += (len(rows) / len(calls) - self._mean_rows[statement]) / 2
        return [found[statement.key_of_call(call)] for call in calls]

    def note_weight(self, statement: Statement, arguments: tuple[Any, ...], rows: int) -> None:
        """Remember whether a read with these arguments, without its limit, is heavy."""
        if rows < HEAVY_ROWS:
            if self.heavy:
                self.heavy.pop((statement, *arguments), None)
            return
        self.heavy[statement, *arguments] = None
        if len(self.heavy) > HEAVY_READS:
            del self.heavy[next(iter(self.heavy))]


def _is_of_one_call(error: Exception) -> bool:
    """Whether one call's data may be the cause: SQLSTATE class 22, or a value that asyncpg cannot encode or decode."""
    return getattr(error, "sqlstate", "22")[:2] == "22" and not isinstance(error, (ConnectionLost, OSError))
