"""The pool: lanes to the database, deadlines, shedding, recovery. Knows no task and no SQL.

A pool of our own because asyncpg's costs each request a task, a future, a timer and a reset round trip;
here a free connection is one list.pop() away, and `make bench` shows what that is worth.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

from service.errors import OUTCOME_UNKNOWN, OVERLOADED, UNAVAILABLE, Problem
from service.lanes import READ_ONLY, Arguments, Lane, Lost, open_lane
from service.reads import Reads
from service.settings import Settings
from service.statements import Statement, tenant_statements

logger = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""A lane above POOL_MIN_SIZE is closed after so long without use."""

RETRY_SECONDS = 0.5
"""Between attempts to reach a database that is away: healing is noticed within this time."""


class Database:
    """Lanes to one database. `lanes` are open, `idle` of them free, the one used last at the end."""

    reads: Reads | None = None

    def __init__(self, settings: Settings) -> None:
        self.lanes: set[Lane] = set()
        self.idle: list[Lane] = []
        self.waiting: deque[asyncio.Future[Lane]] = deque()
        self.answered = float("-inf")
        self.timeouts = 0
        self.shed = 0
        self._settings = settings
        self._statements = tenant_statements()
        self._opening = 0
        self._failure = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting_requests(self) -> int:
        """How many requests have no connection yet."""
        return len(self.waiting) + (self.reads.waiting if self.reads else 0)

    async def open(self) -> None:
        """Opens POOL_MIN_SIZE lanes. A database that is away is no error: it is tried again until it is there."""
        if self._settings.prepared_statements:
            self.reads = Reads(self, self._settings)
        await self._open_one()
        self._start(self._keep())

    async def close(self) -> None:
        """Ends every lane; those in use when they are released."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.expire()

    async def read(self, statement: Statement, arguments: Arguments) -> list[Any]:
        """The rows of a read, which is tried once more when its connection is lost.

        Raises Problem(OVERLOADED) or Problem(UNAVAILABLE) without a lane in time, Lost, or asyncpg.PostgresError.
        """
        try:
            return await self._run(statement, arguments)
        except Lost as error:
            if isinstance(error.__cause__, TimeoutError):
                raise  # the caller has waited long enough
            return await self._run(statement, arguments)

    async def read_many(self, statement: Statement, calls: list[Arguments]) -> list[Any]:
        """The rows of several runs of one read, in one round trip on one lane; not tried again."""
        lane = self.idle.pop() if self.idle else await self._wait()
        try:
            return await lane.run_many(statement, calls)
        finally:
            self._release(lane)

    async def write(self, statement: Statement, arguments: Arguments) -> list[Any]:
        """The rows of a write: when they are here, it is committed. Never tried again.

        Raises as read does, but Problem(OUTCOME_UNKNOWN) when no answer came.
        """
        try:
            return await self._run(statement, arguments)
        except Lost as error:
            raise Problem(OUTCOME_UNKNOWN) from error
        except READ_ONLY:
            self.expire()
            raise

    async def probe(self, statement: Statement) -> list[Any] | None:
        """The rows of a statement that need not be prepared, on the lane idle the longest; None when all are busy."""
        if not self.idle:
            return None
        lane = self.idle.pop(0)
        lane.doubtful = True
        try:
            rows: list[Any] = await lane.connection.fetch(statement.text, timeout=self._settings.statement_timeout)
            lane.doubtful = False
            return rows
        finally:
            self._release(lane)

    async def _run(self, statement: Statement, arguments: Arguments) -> list[Any]:
        lane = self.idle.pop() if self.idle else await self._wait()
        try:
            rows = await lane.run(statement, arguments)
            if lane.warned:
                lane.warned = False
                raise Problem(OUTCOME_UNKNOWN)
            return rows
        finally:
            self._release(lane)

    async def _wait(self) -> Lane:
        if self._failure and not self.lanes:
            raise Problem(UNAVAILABLE)  # at once: nobody gains by waiting for a database that is away
        if len(self.waiting) >= self._settings.max_waiting:
            self.shed += 1
            raise Problem(OVERLOADED)
        if len(self.lanes) + self._opening < self._settings.pool_max_size and not self._failure:
            self._start(self._open_one())
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self.waiting.append(waiter)
        timer = loop.call_later(self._settings.acquire_timeout, self._expire_waiter, waiter)
        try:
            lane: Lane = await waiter
            return lane
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self._release(waiter.result())  # it was handed over just as the caller left
            raise
        finally:
            timer.cancel()

    def _expire_waiter(self, waiter: asyncio.Future[Lane]) -> None:
        if not waiter.done():
            self.timeouts += 1
            self.waiting.remove(waiter)
            waiter.set_exception(Problem(UNAVAILABLE))

    def _release(self, lane: Lane) -> None:
        if lane not in self.lanes:
            lane.connection.terminate()  # it expired, or we stopped, while it was in use
            return
        if lane.doubtful:
            self._start(self._recover(lane))
            return
        lane.answered = self.answered = time.monotonic()
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(lane)
                return
        self.idle.append(lane)

    async def _recover(self, lane: Lane) -> None:
        if await lane.answers():
            self._release(lane)
        else:
            lane.connection.terminate()  # _closed() takes it out

    def expire(self) -> None:
        """Ends every lane, those in use when they are released: after a failover they lead to the wrong server."""
        idle, self.idle = self.idle, []
        self.lanes.clear()
        for lane in idle:
            lane.connection.terminate()

    def _closed(self, lane: Lane) -> None:
        self.lanes.discard(lane)
        if lane in self.idle:
            self.idle.remove(lane)

    async def _open_one(self) -> None:
        self._opening += 1
        try:
            lane = await open_lane(self._settings, self._statements, self._closed)
        except Exception as error:  # whatever it is, it is tried again
            reason = f"{type(error).__name__}: {error}"
            if reason != self._failure:
                logger.warning("the database cannot be reached: %s", reason)
            self._failure = reason
            while self.waiting and not self.lanes:
                waiter = self.waiting.popleft()
                if not waiter.done():
                    waiter.set_exception(Problem(UNAVAILABLE))
        else:
            if self._failure:
                logger.warning("the database answers again")
            self._failure = ""
            self.lanes.add(lane)
            self._release(lane)
        finally:
            self._opening -= 1

    async def _keep(self) -> None:
        """Keeps POOL_MIN_SIZE lanes open, and only as many above as are used."""
        while True:
            missing = self._settings.pool_min_size - len(self.lanes) - self._opening
            if self._failure:
                await self._open_one()
            elif missing > 0:
                await asyncio.gather(*(self._open_one() for _ in range(missing)))
            elif missing < 0 and self.idle and time.monotonic() - self.idle[0].answered > IDLE_SECONDS:
                await self.idle.pop(0).connection.close(timeout=1)
            if self._failure or missing <= 0:
                await asyncio.sleep(RETRY_SECONDS)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
