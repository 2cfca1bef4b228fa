"""The pool of connections: opening, handing out, deadlines, recovery. Knows no task, and no statement's text.

A pool of our own because asyncpg's costs each request a task, a future, a timer and a round trip to reset the
connection. Here a free connection is one `list.pop()` away; `make bench` shows what that is worth.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Hashable
from math import inf

from service.db.connection import Connection
from service.db.connector import Connector
from service.db.errors import DatabaseUnavailable, PoolTimeout, PreparedStatementsUnsupported, QueueFull
from service.db.queue import Queue, Waiter
from service.settings import Settings
from service.timers import LazyTimer

IDLE_SECONDS = 60.0
"""A connection above POOL_MIN_SIZE is closed after this long without a request."""

MAINTENANCE_SECONDS = 0.5
"""Time between two runs of the maintenance, and so the longest until a database that is back is noticed."""

CLOSE_SECONDS = 2.0
"""For the statements that a stop cancelled to end, and then for the connections to close."""

QUEUE_CHECK_SECONDS = 0.05
"""A queued request is refused at most this long after its deadline. A timer for each would cost it 2 us."""


class Pool:
    """Connections to one database: `connections` are open; of these `idle` are free, the last used one at the end.

    `errors` counts failures by class of SQLSTATE, `timeouts` requests refused after ACQUIRE_TIMEOUT, and `shed`
    requests refused because of MAX_WAITING. `name_conflict_at` is the monotonic time of the last
    PreparedStatementsUnsupported.
    Invariant: while an entry of the queue may start, no connection is idle.
    """

    def __init__(self, settings: Settings) -> None:
        self.connections: set[Connection] = set()
        self.idle: list[Connection] = []
        self.last_response_at = -inf
        self.name_conflict_at = -inf
        self.timeouts = self.shed = 0
        self.errors: Counter[str] = Counter()
        self._settings = settings
        self._connector = Connector(settings, self.errors, self._on_open, self._on_close, self._on_failure)
        self.queue = Queue(share=max(1, int(settings.pool_max_size * settings.pool_user_share)))
        self._checks: set[asyncio.Task[None]] = set()
        self._maintenance: asyncio.Task[None] | None = None

    @property
    def failure(self) -> Exception | None:
        """Why the last attempt to connect failed."""
        return self._connector.failure

    @property
    def waiting_requests(self) -> int:
        """How many requests have no connection yet."""
        return self.queue.size

    @property
    def server_version(self) -> str | None:
        """PostgreSQL's version, such as `16.4`. None without a connection."""
        for connection in self.connections:
            return str(connection.driver.get_settings().server_version).split()[0]
        return None

    async def open(self) -> None:
        """Open the pool, and wait for its first connection for ACQUIRE_TIMEOUT. An absent database is no error."""
        self._loop = asyncio.get_running_loop()
        self._timer = LazyTimer(self._check_queue)
        await asyncio.wait([self._connector.start()], timeout=self._settings.acquire_timeout)
        self._maintenance = self._loop.create_task(self._maintain())

    async def close(self) -> None:
        """Close every connection within twice CLOSE_SECONDS. The server is told, unlike in expire()."""
        if self._maintenance is None:
            return  # open() was not called, or failed
        self._maintenance.cancel()
        await self._connector.close()
        if self._checks:  # they wait for the server to end what was cancelled: to terminate now would leave it running
            await asyncio.wait(self._checks, timeout=CLOSE_SECONDS)
        closing = [each.driver.close(timeout=CLOSE_SECONDS) for each in self.connections]
        self.connections, self.idle = set(), []
        self._on_failure()  # for the requests that wait
        await asyncio.gather(*closing, return_exceptions=True)
        self._timer.close()

    def expire(self) -> None:
        """End every connection, those in use when they are released: after a failover they lead to the old server."""
        idle, self.idle = self.idle, []
        self.connections.clear()
        for connection in idle:
            connection.driver.terminate()

    def take(self, user: Hashable | None, capped: bool = False) -> Connection | None:
        """An idle connection at once, or None. A `capped` request keeps to its user's share of the pool."""
        if not self.idle:
            return None
        holder = self.queue.user(user)
        if capped and holder.held >= self.queue.share:
            return None
        connection = self.idle.pop()
        connection.holder = holder
        holder.held += 1
        return connection

    async def acquire(self, user: Hashable | None, capped: bool = False) -> Connection:
        """A connection when `take` gave none, within ACQUIRE_TIMEOUT.

        Raises QueueFull and DatabaseUnavailable at once, and PoolTimeout.
        """
        if self.queue.size >= self._settings.max_waiting or not self.connections:
            self.check_queue_limit()
        future: asyncio.Future[Connection] = self._loop.create_future()
        waiter = Waiter(self.queue.user(user), self._loop.time() + self._settings.acquire_timeout, future, capped)
        self.enqueue(waiter)
        self._grow()
        try:
            return await future
        except asyncio.CancelledError:
            if not self.queue.discard(waiter) and not future.cancelled() and not future.exception():
                self.release(future.result())  # it was handed over just before
            raise

    def check_queue_limit(self) -> None:
        """Raises QueueFull when MAX_WAITING requests wait, and DatabaseUnavailable when waiting cannot help."""
        if not self.connections and self.failure:
            raise DatabaseUnavailable
        if self.queue.size >= self._settings.max_waiting:
            self.shed += 1
            raise QueueFull

    def enqueue(self, waiter: Waiter) -> None:
        """Queue a request or a batch, to be started by `dispatch`."""
        self.queue.put(waiter)
        if self._timer.deadline == inf:
            self._timer.set(self._loop.time() + QUEUE_CHECK_SECONDS)

    def dispatch(self) -> None:
        """Start queued entries on idle connections, as far as they may start."""
        while self.idle:
            waiter = self.queue.pop()
            if waiter is None:
                return
            if waiter.start(self.idle[-1]):
                connection = self.idle.pop()
                connection.holder = waiter.user
                waiter.user.held += 1
            else:
                self.queue.forget(waiter.user)
        if self.queue.size:
            self._grow()

    def _grow(self) -> None:
        """Open a connection when an entry could start on one more."""
        connections = len(self.connections)
        if connections >= self._settings.pool_max_size:
            return
        if self._connector.has_room(connections, len(self.queue)) and self.queue.next():
            self._connector.start()

    def release(self, connection: Connection) -> None:
        """Give a connection back."""
        user, connection.holder = connection.holder, None
        if user is not None:
            user.held -= 1
            if not user.held:
                self.queue.forget(user)
        if connection not in self.connections:
            connection.driver.terminate()  # it expired, or the pool was closed, while it was in use
        elif connection.needs_check:
            check = self._loop.create_task(self._check(connection))
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)
        else:
            connection.last_used_at = connection.last_response_at = self.last_response_at = time.monotonic()
            self.idle.append(connection)
            if self.queue.size:
                self.dispatch()

    async def _check(self, connection: Connection) -> None:
        try:
            if await connection.ping():
                self.release(connection)
        finally:
            if connection.needs_check:
                connection.driver.terminate()  # _on_close() removes it

    def _check_queue(self) -> None:
        late = self.queue.expired(self._loop.time())
        for waiter in late:
            self.timeouts += waiter.size
            waiter.fail(PoolTimeout())
        self.dispatch()  # an entry that was held back may start by now
        if self.queue.size:
            self._timer.set(self._loop.time() + QUEUE_CHECK_SECONDS)

    def _on_open(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.release(connection)

    def _on_close(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def note_error(self, error: Exception | None) -> None:
        """Remember when the pooler last showed that it keeps no prepared statements."""
        if isinstance(error, PreparedStatementsUnsupported):
            self.name_conflict_at = time.monotonic()

    def _on_failure(self) -> None:
        self.note_error(self.failure)
        if not self.connections:
            for waiter in self.queue.drained():
                waiter.fail(DatabaseUnavailable())

    async def _maintain(self) -> None:
        """Keep POOL_MIN_SIZE connections open, and close the others when they are idle for IDLE_SECONDS."""
        while True:
            surplus = self._connector.refill(len(self.connections))
            if surplus and self.idle:
                connection = min(self.idle, key=lambda connection: connection.last_used_at)
                if time.monotonic() - connection.last_used_at > IDLE_SECONDS:
                    connection.driver.terminate()
                    self._on_close(connection)
            await asyncio.sleep(MAINTENANCE_SECONDS)
