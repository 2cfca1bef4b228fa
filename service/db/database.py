"""The database as the statements see it: reads that may be tried again, writes whose outcome may be unknown."""

import asyncio
import time
from typing import Any
from uuid import UUID

from service.db.batching import Reads
from service.db.connection import READ_ONLY, RETRY_DELAY, Arguments, worth_another_try
from service.db.errors import ConnectionLost, OutcomeUnknown
from service.db.pool import Pool
from service.db.statements import Row, Statement


class Database(Pool):
    """The pool, and what a lost connection means for those who use it."""

    reads: Reads | None = None

    async def run(self, statement: Statement, user_id: UUID, *arguments: Any) -> list[Row]:
        """The rows of a statement, which cannot be run without a user's id: it is the statement's `$1`."""
        bound = (user_id, *arguments, *statement.fixed_arguments)
        if statement.batch_columns and self.reads:
            return await self.reads.rows(statement, bound)
        return await (self.write(statement, bound) if statement.writes else self.read(statement, bound))

    @property
    def waiting_requests(self) -> int:
        """How many requests have no connection yet."""
        return len(self.waiting) + (self.reads.waiting if self.reads else 0)

    async def open(self) -> None:
        """Opens the pool, and the way for reads to travel together where statements are prepared."""
        if self._settings.prepared_statements:
            self.reads = Reads(self, self._settings)
        await super().open()

    async def read(self, statement: Statement, arguments: Arguments, deadline: float | None = None) -> list[Any]:
        """The rows of a read, which is tried once more when its connection is lost.

        Raises QueueFull, PoolTimeout or DatabaseUnavailable without a connection by `deadline`, ConnectionLost, or
        asyncpg.PostgresError.
        """
        started = time.monotonic()
        try:
            return await self.read_once(statement, arguments, deadline)
        except ConnectionLost as error:
            if not worth_another_try(error, started):
                raise
            await asyncio.sleep(RETRY_DELAY)
            return await self.read_once(statement, arguments, deadline)

    async def read_once(self, statement: Statement, arguments: Arguments, deadline: float | None = None) -> list[Any]:
        """As read, without a second try."""
        lane = self.idle.pop() if self.idle else await self.wait(deadline)
        try:
            return await lane.run(statement, arguments)
        finally:
            self.release(lane)

    async def read_many(self, statement: Statement, calls: list[Arguments], deadline: float | None) -> list[Any]:
        """The rows of all runs of one read, in one round trip on one lane. Raises as read_once does."""
        lane = self.idle.pop() if self.idle else await self.wait(deadline)
        try:
            return await (lane.run_many(statement, calls) if len(calls) > 1 else lane.run(statement, calls[0]))
        finally:
            self.release(lane)

    async def write(self, statement: Statement, arguments: Arguments) -> list[Any]:
        """The rows of a write: when they are here, it is committed. Never tried again.

        Raises as read does, but OutcomeUnknown when no answer came.
        """
        lane = self.idle.pop() if self.idle else await self.wait()
        lane.warned = False
        try:
            rows = await lane.run(statement, arguments)
            if lane.warned:
                raise OutcomeUnknown
            return rows
        except ConnectionLost as error:
            raise OutcomeUnknown from error
        except READ_ONLY:
            if lane in self.lanes:  # else a write before this one has seen it, and the lanes are new
                self.expire()
            raise
        finally:
            self.release(lane)

    async def probe(self, statement: Statement) -> list[Any] | None:
        """The rows of a statement that need not be prepared, on the idle lane silent the longest; None if all are busy.

        Raises TimeoutError, OSError, or what asyncpg raises.
        """
        if not self.idle:
            return None
        lane = min(self.idle, key=lambda lane: lane.answered)
        used = lane.used
        self.idle.remove(lane)
        lane.doubtful = True
        try:
            rows: list[Any] = await lane.connection.fetch(statement.text, timeout=self._settings.statement_timeout)
            lane.doubtful = False
            return rows
        finally:
            self.release(lane)
            if lane in self.idle:  # a probe is no use: the lane goes where it came from, to be closed one day
                self.idle.remove(lane)
                self.idle.insert(0, lane)
                lane.used = used
