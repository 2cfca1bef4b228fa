"""Opens the pool's connections, a few attempts at once, and remembers why the last attempt failed."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from service.db.connection import CANCEL_SECONDS, Connection
from service.db.driver import TERMINATED, open_connection
from service.db.errors import DatabaseUnavailable, UnsuitableServer
from service.db.failures import description, remedy
from service.db.statements import Statement, tenant_statements
from service.db.url import for_asyncpg, location
from service.settings import Settings

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""A database counts as away after this many consecutive failures."""

CONCURRENT_ATTEMPTS = 3
"""Concurrent attempts to reach a database that is away: a lost packet then delays only one of them."""


class Connector:
    """Opens connections. `opening` counts the attempts in progress; `failure` is why the last one failed, or None.

    `on_open` is called with each new connection, `on_close` with each that ends, `on_failure` when the database is
    away.
    """

    def __init__(
        self,
        settings: Settings,
        errors: Counter[str],
        on_open: Callable[[Connection], None],
        on_close: Callable[[Connection], None],
        on_failure: Callable[[], None],
    ) -> None:
        self.opening = 0
        self.failure: Exception | None = None
        self._settings = settings
        self._errors = errors
        self._on_open, self._on_close, self._on_failure = on_open, on_close, on_failure
        self._url = for_asyncpg(settings.database_url)
        self._location = location(settings.database_url)
        self._statements = tenant_statements()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, attempts: int = ATTEMPTS) -> asyncio.Task[None]:
        """Begin to open one connection."""
        self.opening += 1  # here, not in the task: a burst of requests would open more connections than fit
        task = asyncio.get_running_loop().create_task(self._open(attempts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def has_room(self, connections: int, waiting: int) -> bool:
        """Whether to start another attempt: the last one did not fail, and fewer run than there is room or need for.

        `connections` are open, and `waiting` entries are in the queue.
        """
        room = self._settings.pool_max_size - connections
        return not self.failure and self.opening < min(room, waiting)

    def refill(self, connections: int) -> bool:
        """Start attempts up to POOL_MIN_SIZE. Returns whether open and opening connections exceed POOL_MIN_SIZE.

        After a failure, start at most one attempt, and return False.
        """
        missing = self._settings.pool_min_size - connections - self.opening
        if self.failure:
            missing = int(self.opening < min(CONCURRENT_ATTEMPTS, self._settings.pool_max_size - connections))
        for _ in range(missing):
            self.start()
        return missing < 0

    async def close(self) -> None:
        """Cancel the attempts under way. No further one is made."""
        self.failure = DatabaseUnavailable("the pool is closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _open(self, attempts: int) -> None:
        try:
            connection = await connect(self._url, self._settings, self._statements, self._errors, self._on_close)
        except Exception as error:  # the pool tries again after any error
            self._errors[(getattr(error, "sqlstate", None) or "08001")[:2]] += 1
            # A server that terminates one connection accepts others. In a shutdown it refuses the next, which counts.
            # In the middle of a statement, asyncpg raises ConnectionDoesNotExistError from the server's error.
            terminated = isinstance(error, TERMINATED) or isinstance(error.__cause__, TERMINATED)
            remaining = attempts if terminated else attempts - 1
            if remaining and self.failure is None and not isinstance(error, (TimeoutError, UnsuitableServer)):
                self.start(remaining)
                return
            if repr(error) != repr(self.failure):
                members = {"database": self._location, "remedy": remedy(error)}
                logger.warning("the database cannot be reached: %s", description(error), extra={"members": members})
            self.failure = error.with_traceback(None)
            self._on_failure()
        else:
            if self.failure:
                logger.warning("the database answers again")
            self.failure = None
            self._on_open(connection)
        finally:
            self.opening -= 1


async def connect(
    url: str,
    settings: Settings,
    statements: Sequence[Statement],
    errors: Counter[str],
    on_close: Callable[[Connection], None],
) -> Connection:
    """A new connection with `statements` prepared. It counts its failures in `errors` by class of SQLSTATE.

    `on_close` is called once when the connection ends, from either side.
    Raises TimeoutError after CONNECT_TIMEOUT, OSError, asyncpg.PostgresError or asyncpg.InterfaceError.
    """
    driver = await open_connection(url, settings)
    connection = Connection(driver, settings, errors)
    try:
        await connection.prepare(statements)
    except BaseException as error:
        if isinstance(error, (TimeoutError, asyncio.CancelledError)):  # the preparation may wait for a lock
            with suppress(Exception):
                await driver.close(timeout=CANCEL_SECONDS)  # which waits until the statement is cancelled
        driver.terminate()
        raise
    driver.add_termination_listener(lambda _: on_close(connection))
    return connection
