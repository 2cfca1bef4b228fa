"""`Database.run`: one statement for one user, on one path for reads and writes, with one retry policy.

A read may be sent again; a write only when the server certainly did not run it. Every wait is bounded: for a connection
by ACQUIRE_TIMEOUT, for the statement by STATEMENT_TIMEOUT, and a retry begins within RETRY_SECONDS of the start.
"""

import asyncio
from collections.abc import Callable, Hashable
from time import perf_counter  # for durations: uvloop's clock is exact to a millisecond
from typing import Any
from uuid import UUID

from service.db.batching import ReadBatcher
from service.db.connection import CANCEL_SECONDS, Connection
from service.db.driver import READ_ONLY, SERIALIZATION_FAILURES
from service.db.errors import ConnectionLost, DatabaseUnavailable, OutcomeUnknown
from service.db.pool import Pool
from service.db.queue import BATCHES
from service.db.statements import HEAVY_ROWS, Row, Statement
from service.settings import Settings

RETRY_SECONDS = 0.5
"""No retry begins later than this after the first attempt, so that a request's duration stays bounded."""

RETRY_DELAY = 0.01
"""Wait before a retry. Other connections often fail for the same cause, and the pool notices it in this time."""

READ_ONLY_BACKOFF = (1.0, 60.0)
"""The first and the longest time before READ_ONLY may replace all connections again. It doubles each time."""

OnTiming = Callable[[float, float], None]
"""Called in the task of the caller of run(), with its seconds in the queue and its seconds with the database."""


class Database(Pool):
    """The pool, the batches of reads, and the retry policy.

    `failing` is the last error of each statement that fails for a cause in the database, until it succeeds again.
    """

    def __init__(self, settings: Settings, on_timing: OnTiming | None = None) -> None:
        super().__init__(settings)
        self.failing: dict[str, Exception] = {}
        self._on_timing = on_timing
        self._acquire = self._acquire_timed if on_timing else self.acquire
        self.batcher: ReadBatcher | None = None
        self._read_only_backoff = 0.0
        self._read_only_until = 0.0  # no expiry before this monotonic time

    @property
    def batches(self) -> int:
        """How many batches of reads were sent."""
        return self.batcher.batches if self.batcher else 0

    @property
    def batched_reads(self) -> int:
        """How many reads were in these batches."""
        return self.batcher.batched_reads if self.batcher else 0

    async def open(self) -> None:
        """Open the pool. Reads are batched where statements are prepared."""
        if self._settings.prepared_statements:
            self.batcher = ReadBatcher(self, self._settings)
        await super().open()

    async def run(self, statement: Statement, user_id: UUID, *arguments: Any) -> list[Row]:
        """The statement's rows. A write is committed when its rows are returned.

        `user_id` is bound as `$1`. A list of HEAVY_ROWS or more that a batch brought in part is read again, alone, and
        has each deadline twice. Raises DatabaseUnavailable, PoolTimeout, QueueFull, ConnectionLost (reads),
        OutcomeUnknown (writes), or asyncpg.PostgresError.
        """
        bound = (user_id, *arguments, *statement.limit_arguments)
        started, retried = self._loop.time(), False
        user: Hashable = user_id
        limited_to_share = not statement.writes
        batcher = self.batcher if statement.batch_columns else None
        if batcher and batcher.heavy and (statement, user_id, *arguments) in batcher.heavy:
            batcher = None
        if batcher and not batcher.uncontended:
            queued = perf_counter() if self._on_timing else 0.0
            batch, future = batcher.join(statement, (user_id, *arguments, *statement.limit_arguments_in_batch))
            try:
                rows = await future
                if self.failing:
                    self.failing.pop(statement.name, None)
                if len(rows) < HEAVY_ROWS or statement.limit_arguments_in_batch == statement.limit_arguments:
                    return rows
                batcher.note_weight(statement, (user_id, *arguments), len(rows))
                batcher = None
            except Exception as error:
                if not await self._may_retry(statement, error, started, retried):
                    raise
                batcher, retried = None, True
            finally:
                if self._on_timing:
                    self._on_timing(*batch.timing(queued))
        if batcher:
            batcher.begin_alone()
            user, limited_to_share = BATCHES, False
        try:
            while True:
                connection = self.try_acquire(user, limited_to_share) if self.idle else None
                if connection is None:
                    connection = await self._acquire(user, limited_to_share)
                sent = perf_counter() if self._on_timing else 0.0
                connection.replication_unconfirmed = False
                try:
                    try:
                        rows = await connection.run(statement, bound)
                        break
                    except Exception as error:
                        if statement.writes:
                            await self._after_failed_write(connection, error)
                        raise
                    finally:
                        self.release(connection)
                        if self._on_timing:
                            self._on_timing(0, perf_counter() - sent)
                except Exception as error:
                    if not await self._may_retry(statement, error, started, retried):
                        raise
                    retried = True
        finally:
            if batcher:
                batcher.end_alone()
        # No await since release(): no other statement has run on the connection, so its flag is this statement's.
        if statement.writes:
            if connection.replication_unconfirmed:
                raise OutcomeUnknown
            self._read_only_backoff = 0.0
        elif statement.batch_columns and self.batcher:
            self.batcher.note_weight(statement, (user_id, *arguments), len(rows))
        if self.failing:
            self.failing.pop(statement.name, None)
        return rows

    async def _acquire_timed(self, user: Hashable, limited_to_share: bool) -> Connection:
        queued = perf_counter()
        try:
            return await self.acquire(user, limited_to_share)
        finally:
            if self._on_timing:
                self._on_timing(perf_counter() - queued, 0)

    async def _may_retry(self, statement: Statement, error: Exception, started: float, retried: bool) -> bool:
        """Whether the statement may be run again; if so, returns after RETRY_DELAY. Raises OutcomeUnknown."""
        self._note_failure(statement, error)
        if isinstance(error, ConnectionLost) and statement.writes:
            raise OutcomeUnknown from error
        lost = isinstance(error, (ConnectionLost, DatabaseUnavailable)) and not isinstance(
            error.__cause__, TimeoutError
        )
        repeatable = isinstance(error, SERIALIZATION_FAILURES) or (lost and not retried)
        if not repeatable or self._loop.time() - started > RETRY_SECONDS:
            return False
        await asyncio.sleep(RETRY_DELAY)
        return True

    def _note_failure(self, statement: Statement, error: Exception) -> None:
        self.note_error(error)
        if getattr(error, "sqlstate", None):
            self.failing[statement.name] = error

    async def _after_failed_write(self, connection: Connection, error: Exception) -> None:
        if isinstance(error.__cause__, TimeoutError):
            await connection.ping(CANCEL_SECONDS)  # so that an immediate read shows the outcome
        elif isinstance(error, READ_ONLY) and connection in self.connections:
            # The usual cause is a failover, and new connections reach the new primary. If they do not, each refused
            # write would replace all connections again, and reads would wait for them: hence the backoff.
            now = self._loop.time()
            if now >= self._read_only_until:
                first, longest = READ_ONLY_BACKOFF
                self._read_only_backoff = min(max(first, 2 * self._read_only_backoff), longest)
                self._read_only_until = now + self._read_only_backoff
                self.expire()

    async def probe(self, statement: Statement) -> list[Any] | None:
        """The rows of a statement that is not prepared, on the connection idle the longest. None when all are busy.

        Raises TimeoutError, OSError, or what asyncpg raises.
        """
        if not self.idle:
            return None
        connection = min(self.idle, key=lambda connection: connection.last_response_at)
        last_used_at = connection.last_used_at
        self.idle.remove(connection)
        connection.needs_check = True
        try:
            rows: list[Any] = await connection.driver.fetch(statement.text, timeout=self._settings.statement_timeout)
            connection.needs_check = False
            return rows
        finally:
            self.release(connection)
            if connection in self.idle:  # a probe does not count as use: restore order and time, so that it can expire
                self.idle.remove(connection)
                self.idle.insert(0, connection)
                connection.last_used_at = last_used_at
