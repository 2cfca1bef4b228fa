"""A lane: one connection with its prepared statements. The only importer of asyncpg."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
from asyncpg.pgproto.pgproto import UUID

from service.db.errors import ConnectionLost
from service.db.statements import Statement
from service.settings import Settings
from service.timers import ReusableTimeout

__all__ = [
    "ASYNCPG",
    "READ_ONLY",
    "RETRY_DELAY",
    "UUID",  # asyncpg's own, parsed in C
    "Arguments",
    "Lane",
    "open_lane",
    "worth_another_try",
]

ASYNCPG = "0.32.0"
"""The version whose inside run_prepared leans on; server.py starts with no other."""

Arguments = tuple[Any, ...]

STALE = asyncpg.InvalidCachedStatementError
"""A migration changed a table under a prepared statement. Nothing was executed."""

CHANGES = 3
"""A migration may change a table more than once: so often is a stale statement prepared anew."""

READ_ONLY = asyncpg.ReadOnlySQLTransactionError
"""A write on a server that is no primary (any more)."""

LOST = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises for a connection that is gone, TimeoutError among the first.

InternalClientError comes between the server's farewell to an idle connection and the end of its stream.
"""


RETRY_SECONDS = 0.5
"""A read that failed later than this after its start is not tried again: its caller was promised an answer in time."""

RETRY_DELAY = 0.01
"""Before a read is tried again: what ended its connection has often ended others, which are noticed meanwhile."""


def worth_another_try(error: Exception, started: float) -> bool:
    """Whether a read that began at `started`, by the monotonic clock, and failed, may be tried once more."""
    return not isinstance(error.__cause__, TimeoutError) and time.monotonic() - started < RETRY_SECONDS


def run_prepared(protocol: Any, state: Any, arguments: Arguments) -> Any:
    """What a prepared statement's fetch() comes to, without the ten calls and checks in between, which cost 5 us."""
    return protocol.bind_execute(state, arguments, "", 0, False, None)


def run_text(connection: Any, text: str, arguments: Arguments) -> Any:
    return connection.fetch(text, *arguments)


class Lane:
    """One connection. `answered` is when it last answered, `used` when last to a request: monotonic, in seconds."""

    def __init__(self, connection: Any, settings: Settings, errors: Counter[str]) -> None:
        self.connection = connection
        self.timeout = settings.statement_timeout
        self.limit = ReusableTimeout(self.timeout)
        self.by_function = settings.row_level_security
        self.errors = errors
        self.prepared: dict[str, Any] = {}
        self.runs: dict[str, Callable[[Arguments], Awaitable[list[asyncpg.Record]]]] = {}
        self.answered = self.used = time.monotonic()
        self.doubtful = False  # it owes an answer to a caller who has gone
        self.warned = False
        connection.add_log_listener(self._listen)

    def _listen(self, _: Any, message: Any) -> None:
        # A commit whose wait for the synchronous standby is cancelled answers like any other, plus a warning:
        # "The transaction has already committed locally, but might not have been replicated to the standby."
        if message.sqlstate == "01000":
            self.warned = True

    async def prepare(self, statements: Sequence[Statement], *, named: bool = True) -> None:
        """Makes `statements` ready to run. Raises asyncpg.PostgresError for bad SQL or a missing table.

        Not `named`: each run sends its text, for poolers that do not keep prepared statements.
        """
        for statement in statements:
            text = statement.call if self.by_function else statement.text
            if named:
                prepared = await self.connection.prepare(text, timeout=self.timeout)
                self.prepared[statement.name] = prepared
                self.runs[statement.name] = partial(run_prepared, self.connection._protocol, prepared._state)
            else:
                self.runs[statement.name] = partial(run_text, self.connection, text)

    async def run(self, statement: Statement, arguments: Arguments) -> list[asyncpg.Record]:
        """The statement's rows. Raises Lost, or asyncpg.PostgresError for what the server refuses."""
        self.doubtful = True
        try:
            with self.limit:
                try:
                    rows = await self.runs[statement.name](arguments)
                except STALE:
                    rows = await self._run_anew(statement, arguments)
        except asyncpg.PostgresError as error:
            self._count(error)
            if isinstance(error, asyncpg.PostgresConnectionError) or error.severity_en == "FATAL":
                raise ConnectionLost from error  # FATAL, as in a server's shutdown: this connection has ended
            self.doubtful = False
            raise
        except LOST as error:
            self._count(error)
            raise ConnectionLost from error
        self.doubtful = False
        return rows

    async def _run_anew(self, statement: Statement, arguments: Arguments) -> list[asyncpg.Record]:
        for _ in range(CHANGES - 1):
            await self.prepare([statement])
            with suppress(STALE):
                return await self.runs[statement.name](arguments)
        await self.prepare([statement])
        return await self.runs[statement.name](arguments)

    async def run_many(self, statement: Statement, calls: list[Arguments]) -> list[asyncpg.Record]:
        """The rows of all `calls` in one round trip, in their order. Any failure of one is a failure of all.

        Raises as run does.
        """
        self.doubtful = True
        try:
            rows: list[asyncpg.Record] = await self.prepared[statement.name].fetchmany(calls, timeout=self.timeout)
        except (*LOST, asyncpg.PostgresError) as error:
            self._count(error)
            if isinstance(error, (*LOST, asyncpg.PostgresConnectionError)):
                raise ConnectionLost from error
            raise  # whose fault it is, is seen when each runs alone
        self.doubtful = False
        return rows

    def _count(self, error: Exception) -> None:
        # what never reached us has no SQLSTATE: these are what the server notes for it
        sqlstate = getattr(error, "sqlstate", None) or ("57014" if isinstance(error, TimeoutError) else "08006")
        self.errors[sqlstate[:2]] += 1

    async def answers(self) -> bool:
        """Whether the server still answers here, in time; a cancellation under way is waited for."""
        try:
            await self.connection.execute("select 1", timeout=self.timeout)
        except Exception:  # whatever it is, the connection is of no use
            return False
        self.doubtful = False
        return True


async def open_lane(
    url: str,
    settings: Settings,
    statements: Sequence[Statement],
    errors: Counter[str],
    on_close: Callable[[Lane], None],
) -> Lane:
    """A new connection with `statements` prepared, whose failures are added to `errors` by their SQLSTATE's class.

    `on_close` is called once when it ends, from whichever side.
    Raises TimeoutError after `connect_timeout`, OSError, asyncpg.PostgresError or asyncpg.InterfaceError.
    """
    named = settings.prepared_statements
    connection = await asyncpg.connect(
        url,
        timeout=settings.connect_timeout,
        statement_cache_size=100 if named else 0,  # without a cache asyncpg names no statement, not even a prepared one
        max_cached_statement_lifetime=0,
        server_settings={"application_name": "task-service"},
    )
    lane = Lane(connection, settings, errors)
    try:
        await lane.prepare(statements, named=named)
        # asyncpg prepares without a Sync: a transaction would stay open, with its locks and its now(), until first use
        await connection.execute("select 1", timeout=lane.timeout)
    except BaseException:
        connection.terminate()
        raise
    connection.add_termination_listener(lambda _: on_close(lane))
    return lane
