"""The pool: which request gets a connection, and when. Knows no task, and no statement's text.

A pool of our own because asyncpg's costs each request a task, a future, a timer and a round trip to reset the
connection. Here, to acquire an idle connection is one `list.pop()`; `make bench` prints the difference.
"""

import asyncio
import time
from collections.abc import Hashable
from math import inf

from service.db.connection import Connection
from service.db.connections import ConnectionSet
from service.db.errors import DatabaseUnavailable, PoolTimeout, QueueFull
from service.db.queue import BATCHES_IN_FLIGHT, Queue, Waiter
from service.settings import Settings
from service.timers import LazyTimer

QUEUE_CHECK_SECONDS = 0.05
"""A queued request is refused at most this long after its deadline. A timer for each would cost it 2 us."""


class Pool(ConnectionSet):
    """The connections, shared by requests: each has one for a statement, or waits in `queue`.

    `timeouts` counts requests refused after ACQUIRE_TIMEOUT, and `shed` requests refused because of MAX_WAITING.
    Invariant: while an entry of the queue may start, no connection is idle.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.queue = Queue(
            share=max(1, int(settings.pool_max_size * settings.pool_user_share)),
            batch_share=min(BATCHES_IN_FLIGHT, settings.pool_max_size // 4),  # in a small pool, writes must have turns
        )
        self.timeouts = self.shed = 0

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = LazyTimer(self._check_queue)
        await super().open()

    def fail_waiting(self) -> None:
        for waiter in self.queue.pop_all():
            waiter.fail(DatabaseUnavailable())

    @property
    def waiting_requests(self) -> int:
        """How many requests have no connection yet."""
        return self.queue.size

    def try_acquire(self, user: Hashable, limited_to_share: bool = False) -> Connection | None:
        """Acquire an idle connection; there must be one.

        Returns None if `limited_to_share` is true and the user already holds its share.
        """
        held = self.queue.held.get(user, 0)
        if limited_to_share and held >= self.queue.share:
            return None
        connection = self.idle.pop()
        connection.holder = user
        self.queue.held[user] = held + 1
        return connection

    async def acquire(self, user: Hashable, limited_to_share: bool = False) -> Connection:
        """Wait for a connection, at most for ACQUIRE_TIMEOUT. Call it when `try_acquire` has none.

        Raises QueueFull and DatabaseUnavailable at once, and PoolTimeout.
        """
        if self.queue.size >= self._settings.max_waiting or not self.connections:
            self.check_queue_limit()
        future: asyncio.Future[Connection] = self._loop.create_future()
        waiter = Waiter(user, self._loop.time() + self._settings.acquire_timeout, future, limited_to_share)
        self.enqueue(waiter)
        if len(self.connections) < self._settings.pool_max_size:
            self._grow()
        try:
            return await future
        except asyncio.CancelledError:
            if self.queue.discard(waiter):
                self.dispatch()  # the next entry may be startable
            elif not future.cancelled() and not future.exception():
                self.release(future.result())  # it was handed over just before
            raise
        except Exception:
            del future, waiter  # they refer to the error, and its traceback to this frame: a reference cycle
            raise

    def check_queue_limit(self) -> None:
        """Raises QueueFull when MAX_WAITING requests wait, and DatabaseUnavailable when waiting cannot help."""
        if not self.connections and self.failure:
            raise DatabaseUnavailable
        if self.queue.size >= self._settings.max_waiting:
            self.shed += 1
            raise QueueFull

    def enqueue(self, waiter: Waiter) -> None:
        """Queue an entry, to be started by `dispatch`."""
        self.queue.put(waiter)
        if self._timer.deadline == inf:
            self._timer.set(self._loop.time() + QUEUE_CHECK_SECONDS)

    def dispatch(self) -> None:
        """Start queued entries on idle connections, until no entry may start."""
        while self.idle and self._hand_over(self.idle[-1]):
            self.idle.pop()
        if self.queue.size and len(self.connections) < self._settings.pool_max_size:
            self._grow()

    def _hand_over(self, connection: Connection) -> bool:
        """Start the entry whose turn it is. Returns False when none may start."""
        while (waiter := self.queue.pop()) is not None:
            if waiter.start(connection):
                user = connection.holder = waiter.user
                self.queue.held[user] = self.queue.held.get(user, 0) + 1
                return True
        return False

    def _grow(self) -> None:
        """Open a connection when an entry could start on one more."""
        if self._connector.has_room(len(self.connections), len(self.queue)) and self.queue.next():
            self._connector.start()

    def release(self, connection: Connection) -> None:
        """Give a connection back."""
        user, connection.holder = connection.holder, None
        if user is not None:
            held = self.queue.held.pop(user) - 1
            if held:
                self.queue.held[user] = held
        if connection.needs_check:
            self.check(connection)
            self.dispatch()  # the user's next entry may start on another connection
        elif connection not in self.connections:
            connection.driver.terminate()  # it expired, or the pool was closed, while it was in use
            self.dispatch()
        else:
            connection.last_used_at = connection.last_response_at = self.last_response_at = time.monotonic()
            if not (self.queue.size and self._hand_over(connection)):
                self.idle.append(connection)
            elif self.idle or len(self.connections) < self._settings.pool_max_size:
                self.dispatch()  # this start may have made another entry startable

    def _check_queue(self) -> None:
        late = self.queue.pop_expired(self._loop.time())
        for waiter in late:
            self.timeouts += waiter.size
            waiter.fail(PoolTimeout())
        self.dispatch()  # a batch that had to wait may start now
        if self.queue.size:
            self._timer.set(self._loop.time() + QUEUE_CHECK_SECONDS)
