"""The set of open connections: opens, checks and closes them. Knows no request."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from math import inf

from service.db.connection import Connection
from service.db.connector import Connector
from service.db.errors import PreparedStatementsUnsupported
from service.settings import Settings

IDLE_SECONDS = 60.0
"""A connection above POOL_MIN_SIZE is closed after this many seconds without a request."""

MAINTENANCE_SECONDS = 0.5
"""Seconds between two runs of the maintenance. A database that accepts connections again is noticed this late."""

CLOSE_SECONDS = 2.0
"""How long a stop waits for cancelled statements to end, and then again for the connections to close."""


class ConnectionSet(ABC):
    """Connections to one database: `connections` are open; `idle` has the unused ones, the last used one at the end.

    `errors` counts failures by class of SQLSTATE. `name_conflict_at` is the monotonic time of the last
    PreparedStatementsUnsupported. Subclasses say what happens to a connection that is ready, and to waiting requests.
    """

    def __init__(self, settings: Settings) -> None:
        self.connections: set[Connection] = set()
        self.idle: list[Connection] = []
        self.last_response_at = self.name_conflict_at = -inf
        self.errors: Counter[str] = Counter()
        self._settings = settings
        self._connector = Connector(settings, self.errors, self._on_open, self._on_close, self._on_failure)
        self._checks: set[asyncio.Task[None]] = set()
        self._maintenance: asyncio.Task[None] | None = None

    @abstractmethod
    def release(self, connection: Connection) -> None:
        """Make a connection available: it is new, or its request has ended."""

    @abstractmethod
    def fail_waiting(self) -> None:
        """End the wait of every request: there is no connection, and none can be made."""

    @property
    def failure(self) -> Exception | None:
        """Why the last attempt to connect failed."""
        return self._connector.failure

    @property
    def server_version(self) -> str | None:
        """PostgreSQL's version, such as `16.4`. None without a connection."""
        for connection in self.connections:
            return str(connection.driver.get_settings().server_version).split()[0]
        return None

    async def open(self) -> None:
        """Open the first connection, within ACQUIRE_TIMEOUT, and then the others. An absent database is no error."""
        await asyncio.wait([self._connector.start()], timeout=self._settings.acquire_timeout)
        self._maintenance = asyncio.create_task(self._maintain())

    async def close(self) -> None:
        """Close every connection within twice CLOSE_SECONDS. Unlike expire(), this sends Terminate to the server."""
        if self._maintenance is None:
            return  # open() was not called, or failed
        self._maintenance.cancel()
        await self._connector.close()
        if self._checks:  # until the server has ended the cancelled statements: if terminated now, they would run on
            await asyncio.wait(self._checks, timeout=CLOSE_SECONDS)
        closing = [each.driver.close(timeout=CLOSE_SECONDS) for each in self.connections]
        self.connections, self.idle = set(), []
        self.fail_waiting()
        await asyncio.gather(*closing, return_exceptions=True)

    def expire(self) -> None:
        """Terminate idle connections now and busy ones at release: after a failover, all reach the old server."""
        idle, self.idle = self.idle, []
        self.connections.clear()
        for connection in idle:
            connection.driver.terminate()

    def check(self, connection: Connection) -> None:
        """Release the connection again when it answers, or terminate it."""
        task = asyncio.create_task(self._check(connection))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _check(self, connection: Connection) -> None:
        try:
            if await connection.ping():
                self.release(connection)
        finally:
            if connection.needs_check:
                connection.driver.terminate()  # _on_close() removes it

    def note_error(self, error: Exception | None) -> None:
        """Remember when the pooler last showed that it keeps no prepared statements."""
        if isinstance(error, PreparedStatementsUnsupported):
            self.name_conflict_at = time.monotonic()

    def _on_open(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.release(connection)

    def _on_close(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def _on_failure(self) -> None:
        self.note_error(self.failure)
        if not self.connections:
            self.fail_waiting()

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
