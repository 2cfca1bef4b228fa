"""The only module that imports asyncpg: its connections, its errors, and the private parts that the service uses.

The private parts are `Connection._protocol`, `PreparedStatement._state` and `Protocol.bind_execute()`. Each new
connection tries them for real; where that fails, statements run through `PreparedStatement.fetch()`, which costs 5 us
more, and one warning is logged. `make compat` runs the database's tests on the oldest and the newest release in range.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import Any

import asyncpg
from asyncpg.pgproto.pgproto import UUID

from service.db.errors import (
    ConnectionLost,
    ConnectTimeout,
    DatabaseUnavailable,
    PreparedStatementsUnsupported,
    UnsuitableServer,
)
from service.db.happy_eyeballs import HappyEyeballsLoop
from service.settings import Settings

__all__ = [
    "INVALID_STATEMENT",
    "READ_ONLY",
    "SERIALIZATION_FAILURES",
    "TERMINATED",
    "UUID",  # asyncpg's own type, parsed in C
    "Arguments",
    "Call",
    "Record",
    "check_session",
    "open_connection",
    "prepared_call",
    "translate_error",
    "unprepared_call",
]

logger = logging.getLogger(__name__)

Arguments = tuple[Any, ...]
Record = Any  # asyncpg.Record, which has no types
Call = Callable[[Arguments], Awaitable[list[Record]]]
"""Runs one statement on one connection."""

INVALID_STATEMENT = asyncpg.InvalidCachedStatementError
"""A migration changed a table that a prepared statement uses. Nothing was executed."""

READ_ONLY = asyncpg.ReadOnlySQLTransactionError
"""A write reached a standby or a read-only database."""

SERIALIZATION_FAILURES = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The statement was rolled back and may be run again: PostgreSQL manual, 13.5."""

TERMINATED = asyncpg.AdminShutdownError
"""pg_terminate_backend() ended the connection, or a shutdown of the server began."""

NAME_CONFLICTS = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""SQLSTATEs 26000 and 42P05: the session is not the one in which the statement was prepared."""

QUEUE_TIMEOUT = "query_wait_timeout"
"""PgBouncer's message when a transaction got no connection to the server. Nothing was sent to the server."""

SHOW_LEVEL = "show client_min_messages"

ENDED = (OSError, asyncpg.InternalClientError)
"""A connection that ends under a statement. TimeoutError is an OSError.

InternalClientError comes between the server's last message to an idle connection and the end of the stream.
"""


async def open_connection(url: str, settings: Settings) -> Any:
    """A connection of asyncpg.

    Raises ConnectTimeout, OSError, UnsuitableServer for files of certificates that are missing, asyncpg.PostgresError
    or asyncpg.InterfaceError.

    A `timestamptz` is the integer that PostgreSQL sends, and is bound as one: microseconds since the start of 2000 in
    UTC. asyncpg would make a datetime by adding a timedelta, which takes longer than to decode the rest of a task.
    """
    loop = HappyEyeballsLoop(asyncio.get_running_loop())
    try:
        driver = await asyncpg.connect(
            url,
            loop=loop,
            timeout=settings.connect_timeout,
            # Without a cache, asyncpg runs an unprepared text as the unnamed statement. With one, it would name the
            # text by a number: behind a pooler, two processes would use one number for different texts.
            statement_cache_size=0,
        )
    except BaseException as error:
        # asyncpg has closed its transports, but over TLS a close waits for the server's answer. At a stop, the event
        # loop would end first, and fail because a transport is open.
        loop.abort()
        if isinstance(error, asyncpg.ClientConfigurationError):
            raise UnsuitableServer(" ".join(str(error).split())) from error  # it has two lines
        if isinstance(error, TimeoutError):
            raise ConnectTimeout from error
        raise
    await driver.set_builtin_type_codec("timestamptz", schema="pg_catalog", codec_name="int8")
    return driver


def translate_error(error: Exception, driver: Any) -> Exception:
    """Return the exception that callers of `db` know for `error`, or `error` itself.

    DatabaseUnavailable and PreparedStatementsUnsupported mean that the statement was not run.
    """
    if isinstance(error, NAME_CONFLICTS):
        return PreparedStatementsUnsupported()
    if isinstance(error, asyncpg.PostgresError):
        # FATAL: the server ended this connection, as in a shutdown.
        ended = isinstance(error, asyncpg.PostgresConnectionError) or error.severity_en == "FATAL"
        if ended and str(error).endswith(QUEUE_TIMEOUT):
            return DatabaseUnavailable()
        return ConnectionLost() if ended else error
    if isinstance(error, ENDED):
        return ConnectionLost()
    if isinstance(error, asyncpg.InterfaceError) and driver.is_closed():
        return DatabaseUnavailable()  # asyncpg checks the connection's state before it sends
    return error


async def check_session(driver: Any, prepared_statements: bool) -> bool:
    """Check what the service relies on in a session. Raises UnsuitableServer.

    Returns whether statements may run by `bind_execute`, which is tried for real.
    """
    if driver.get_settings().server_encoding == "SQL_ASCII":  # it counts bytes as characters
        raise UnsuitableServer("the database's encoding is SQL_ASCII: create it with encoding UTF8")
    direct = False
    if not prepared_statements:
        level = await driver.fetchval(SHOW_LEVEL)
    else:
        prepared = await driver.prepare(SHOW_LEVEL, name="show_client_min_messages")
        try:
            ((level,),) = await prepared_call(driver, prepared, direct=True)(())
            direct = True
        except (AttributeError, TypeError, ValueError) as error:
            _warn_of_slow_calls(str(error))
            level = await prepared.fetchval()
    if level == "error":
        raise UnsuitableServer(
            "client_min_messages is error, which hides that a commit was not replicated: "
            "alter role ... set client_min_messages = warning"
        )
    return direct


@cache
def _warn_of_slow_calls(reason: str) -> None:
    message = "asyncpg %s is unlike the releases that were tested (%s): each statement takes 5 us longer"
    logger.warning(message, asyncpg.__version__, reason)


def prepared_call(driver: Any, prepared: Any, direct: bool) -> Call:
    """Return a function that runs a prepared statement.

    `direct` leaves out ten calls and checks of `PreparedStatement.fetch()`. By keyword, the constant arguments need no
    function of our own between.
    """
    if not direct:
        return partial(_fetch, prepared)
    execute = driver._protocol.bind_execute
    return partial(execute, prepared._state, portal_name="", limit=0, return_extra=False, timeout=None)


def unprepared_call(driver: Any, text: str) -> Call:
    """Return a function that runs a text, for poolers that keep no prepared statements."""
    return partial(_fetch_text, driver, text)


def _fetch(prepared: Any, arguments: Arguments) -> Any:
    return prepared.fetch(*arguments)


def _fetch_text(driver: Any, text: str, arguments: Arguments) -> Any:
    return driver.fetch(text, *arguments)
