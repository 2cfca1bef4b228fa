"""The pool: lanes to the database, deadlines, shedding, recovery. Knows no task and no SQL, nor what a lane is for.

A pool of our own because asyncpg's costs each request a task, a future, a timer and a reset round trip;
here a free connection is one list.pop() away, and `make bench` shows what that is worth.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any

from service.db.connection import Lane, open_lane
from service.db.errors import DatabaseUnavailable, PoolTimeout, QueueFull
from service.db.statements import tenant_statements
from service.db.sweep import Sweep
from service.db.url import for_asyncpg
from service.settings import Settings

logger = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""A lane above POOL_MIN_SIZE is closed after so long without a request."""

KEEP_SECONDS = 0.5
"""How often the pool looks after itself: the healing of a database that was away is noticed within this time."""

ATTEMPTS = 3
"""Connections to a database that is away are tried so many at once: a packet that one has lost delays only that one."""


class Pool:
    """Lanes to one database: `lanes` are open, `idle` of them free, the one used last at the end.

    `failure` is why the last new connection could not be made, or None; `errors` counts failures by SQLSTATE class.
    """

    def __init__(self, settings: Settings) -> None:
        self.lanes: set[Lane] = set()
        self.idle: list[Lane] = []
        self.waiting: deque[tuple[float, asyncio.Future[Lane]]] = deque()
        self.answered = float("-inf")
        self.failure: Exception | None = None
        self.timeouts = self.shed = 0
        self.errors: Counter[str] = Counter()
        self._settings = settings
        self._url = for_asyncpg(settings.database_url)
        self._statements = tenant_statements()
        self._opening = 0
        self._sweep = Sweep(self._refuse_late)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def has_room(self) -> bool:
        """Whether a lane is idle or may be opened."""
        return bool(self.idle) or len(self.lanes) + self._opening < self._settings.pool_max_size

    async def open(self) -> None:
        """Opens POOL_MIN_SIZE lanes, and waits for the first as long as a request would.

        A database that is away is no error: it is tried again until it is there.
        """
        await asyncio.wait([self._add_lane()], timeout=self._settings.acquire_timeout)
        self._start(self._keep())

    async def close(self) -> None:
        """Ends every lane, within STATEMENT_TIMEOUT; the server is told, where expire() leaves it to find out."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        lanes, self.lanes, self.idle = self.lanes, set(), []
        closing = (lane.connection.close(timeout=self._settings.statement_timeout) for lane in lanes)
        await asyncio.gather(*closing, return_exceptions=True)

    def expire(self) -> None:
        """Ends every lane, those in use when they are released: after a failover they lead to the wrong server."""
        idle, self.idle = self.idle, []
        self.lanes.clear()
        for lane in idle:
            lane.connection.terminate()

    async def wait(self, deadline: float | None = None) -> Lane:
        """A lane, when none is idle; by `deadline`, in the event loop's time, or else within ACQUIRE_TIMEOUT.

        Raises QueueFull and DatabaseUnavailable at once, and PoolTimeout.
        """
        if self.failure and not self.lanes:
            raise DatabaseUnavailable  # at once: nobody gains by waiting for a database that is away
        if len(self.waiting) >= self._settings.max_waiting and deadline is None:  # with one, it is no newcomer
            self.shed += 1
            raise QueueFull
        if self.has_room and not self.failure:
            self._add_lane()
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Lane] = loop.create_future()
        place = (deadline or loop.time() + self._settings.acquire_timeout, waiter)
        self.waiting.append(place)
        self._sweep.begin()
        try:
            return await waiter
        except asyncio.CancelledError:
            if place in self.waiting:
                self.waiting.remove(place)
            elif not waiter.cancelled() and not waiter.exception():
                self.release(waiter.result())  # it was handed over just as the caller left
            raise

    def _refuse_late(self) -> None:
        now = asyncio.get_running_loop().time()
        late = [place for place in self.waiting if place[0] <= now]
        for place in late:
            self._refuse(place)
        self.timeouts += len(late)
        if self.waiting:
            self._sweep.begin()

    def _refuse(self, place: tuple[float, asyncio.Future[Lane]]) -> None:
        self.waiting.remove(place)
        if not place[1].done():
            place[1].set_exception(PoolTimeout())

    def release(self, lane: Lane) -> None:
        """Gives a lane back, to whoever waits longest."""
        if lane not in self.lanes:
            lane.connection.terminate()  # it expired, or we stopped, while it was in use
            return
        if lane.doubtful:
            self._start(self._recover(lane))
            return
        lane.used = lane.answered = self.answered = time.monotonic()
        while self.waiting:
            _, waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(lane)
                return
        self.idle.append(lane)

    async def _recover(self, lane: Lane) -> None:
        try:
            if await lane.answers():
                self.release(lane)
        finally:
            if lane.doubtful:
                lane.connection.terminate()  # _closed() takes it out

    def _closed(self, lane: Lane) -> None:
        self.lanes.discard(lane)
        if lane in self.idle:
            self.idle.remove(lane)

    def _add_lane(self, tries: int = 3) -> asyncio.Task[None]:
        self._opening += 1  # here, and not in the task: a burst of requests would start more of them than fit
        return self._start(self._open_lane(tries))

    async def _open_lane(self, tries: int) -> None:
        try:
            lane = await open_lane(self._url, self._settings, self._statements, self.errors, self._closed)
        except Exception as error:  # whatever it is, it is tried again
            self.errors[(getattr(error, "sqlstate", None) or "08001")[:2]] += 1
            if tries > 1 and self.failure is None and not isinstance(error, TimeoutError):
                self._add_lane(tries - 1)  # at once: a database that is away is so three times in a row
                return
            if repr(error) != repr(self.failure):
                logger.warning("the database cannot be reached: %s: %s", type(error).__name__, error)
            self.failure = error.with_traceback(None)
            while self.waiting and not self.lanes:
                self._refuse(self.waiting[0])
        else:
            if self.failure:
                logger.warning("the database answers again")
            self.failure = None
            self.lanes.add(lane)
            self.release(lane)
        finally:
            self._opening -= 1

    async def _keep(self) -> None:
        """Keeps POOL_MIN_SIZE lanes open, and those above as long as they are used."""
        while True:
            missing = self._settings.pool_min_size - len(self.lanes) - self._opening
            if self.failure:
                missing = int(self._opening < min(ATTEMPTS, self._settings.pool_max_size - len(self.lanes)))
            for _ in range(missing):
                self._add_lane()
            if missing < 0 and self.idle:
                lane = min(self.idle, key=lambda lane: lane.used)
                if time.monotonic() - lane.used > IDLE_SECONDS:
                    lane.connection.terminate()
                    self._closed(lane)
            await asyncio.sleep(KEEP_SECONDS)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
