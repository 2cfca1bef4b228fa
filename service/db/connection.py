"""One connection to PostgreSQL with its prepared statements, its time limit and its state."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from service.db.driver import (
    INVALID_STATEMENT,
    NAME_CONFLICTS,
    Arguments,
    Call,
    Record,
    check_session,
    prepared_call,
    translate_error,
    unprepared_call,
)
from service.db.errors import PreparedStatementsUnsupported
from service.db.statements import Statement
from service.settings import Settings
from service.timers import ReusableTimeout

CANCEL_SECONDS = 1.0
"""The server has at least this long to end a cancelled statement. If its connection were closed at once, the statement
would continue, or would still wait for a lock."""

MAX_PREPARES = 3
"""Preparations of a statement before its INVALID_STATEMENT is raised: one migration may change a table repeatedly."""


class Connection:
    """A connection. Its times are monotonic, in seconds: a probe moves `last_response_at`, and not `last_used_at`.

    `needs_check` is true while a response is outstanding. It stays true if the caller of `run` was cancelled first, or
    if the response was unreadable: then the connection must answer `ping()` before it is used again.
    `holder` is the user, or BATCHES, for which `Queue.held` counts the connection; None while it is idle or checked.
    """

    def __init__(self, driver: Any, settings: Settings, errors: Counter[str]) -> None:
        self.driver = driver
        self.holder: Hashable | None = None
        self.last_response_at = self.last_used_at = time.monotonic()
        self.needs_check = False
        self.replication_unconfirmed = False
        self._settings = settings
        self._timeout = ReusableTimeout(settings.statement_timeout)
        self._errors = errors
        self._uses_bind_execute = True
        self._prepared: dict[str, Any] = {}
        self._calls: dict[str, Call] = {}
        driver.add_log_listener(self._on_notice)

    def _on_notice(self, _: Any, message: Any) -> None:
        # When the wait for a synchronous standby is cancelled, the commit is answered as usual, after a warning. Its
        # text depends on lc_messages, and a trigger's RAISE WARNING has the same SQLSTATE: only its source differs.
        if message.server_source_function == "SyncRepWaitForLSN":
            self.replication_unconfirmed = True

    async def prepare(self, statements: Sequence[Statement]) -> None:
        """Make `statements` ready to run.

        Raises asyncpg.PostgresError for bad SQL or a missing table, and UnsuitableServer.
        """
        try:
            # The session is checked first, since this decides how statements run. `select 1` comes last, since asyncpg
            # prepares without a Sync: a transaction would stay open, with its locks and its now().
            self._uses_bind_execute = await check_session(self.driver, self._settings.prepared_statements)
            for statement in statements:
                if self._settings.prepared_statements:
                    await self._prepare(statement)
                else:
                    self._calls[statement.name] = unprepared_call(self.driver, self._text(statement))
            await self.driver.execute("select 1", timeout=self._settings.statement_timeout)
        except NAME_CONFLICTS as error:
            raise PreparedStatementsUnsupported from error

    def _text(self, statement: Statement) -> str:
        return statement.call if self._settings.row_level_security else statement.text

    async def _prepare(self, statement: Statement) -> None:
        try:
            await self._prepare_text(statement, self._text(statement))
        except INVALID_STATEMENT:  # the pooler's session has the text already, from before a migration
            await self._prepare_again(statement)

    async def _prepare_again(self, statement: Statement) -> None:
        # With another text: PgBouncer maps equal texts to one statement of its session, and would use the stale one.
        await self._prepare_text(statement, f"{self._text(statement)}\n-- prepared again at {time.time_ns()}")

    async def _prepare_text(self, statement: Statement, text: str) -> None:
        # The name is the digest of the text. asyncpg would number the statements: behind a transaction pooler without
        # prepared statements, one release would then run another release's statement of the same number.
        name = sha256(text.encode()).hexdigest()[:32]
        prepared = await self.driver.prepare(text, name=name, timeout=self._settings.statement_timeout)
        self._prepared[statement.name] = prepared
        self._calls[statement.name] = prepared_call(self.driver, prepared, self._uses_bind_execute)

    def _run_once(self, statement: Statement, arguments: Arguments) -> Awaitable[list[Record]]:
        return self._calls[statement.name](arguments)

    async def run(self, statement: Statement, arguments: Arguments) -> list[Record]:
        """The statement's rows.

        Raises ConnectionLost, DatabaseUnavailable when nothing was sent, or asyncpg.PostgresError as the server says.
        """
        self.needs_check = True
        try:
            with self._timeout:
                try:
                    rows = await self._calls[statement.name](arguments)
                except INVALID_STATEMENT:
                    rows = await self._prepare_and_run(statement, partial(self._run_once, statement, arguments))
        except Exception as error:  # a cancellation is not counted, and needs_check stays true after it
            self._on_error(error)
            raise
        self.needs_check = False
        return rows

    async def run_many(self, statement: Statement, calls: Sequence[Arguments]) -> list[Record]:
        """The rows of all `calls` in one round trip, in their order. When one fails, all fail. Raises as `run` does."""
        self.needs_check = True
        try:
            try:
                rows: list[Record] = await self._fetch_many(statement, calls)
            except INVALID_STATEMENT:
                rows = await self._prepare_and_run(statement, partial(self._fetch_many, statement, calls))
        except Exception as error:  # as in run()
            self._on_error(error)
            raise
        self.needs_check = False
        return rows

    def _fetch_many(self, statement: Statement, calls: Sequence[Arguments]) -> Any:
        # With asyncpg's own timeout: when it has to wait for the socket, it would swallow a cancellation.
        return self._prepared[statement.name].fetchmany(calls, timeout=self._settings.statement_timeout)

    async def _prepare_and_run(self, statement: Statement, run: Callable[[], Awaitable[list[Record]]]) -> list[Record]:
        for attempt in range(1, MAX_PREPARES + 1):
            await self._prepare_again(statement)
            try:
                return await run()
            except INVALID_STATEMENT:
                if attempt == MAX_PREPARES:
                    raise
        raise AssertionError("unreachable")

    def _on_error(self, error: Exception) -> None:
        """Count the error by the class of its SQLSTATE. If it has a translation, raise this."""
        # Errors of the client have no SQLSTATE. These are the ones that the server uses for the same cause.
        sqlstate = getattr(error, "sqlstate", None) or ("57014" if isinstance(error, TimeoutError) else "08006")
        self._errors[sqlstate[:2]] += 1
        translated = translate_error(error, self.driver)
        if isinstance(translated, PreparedStatementsUnsupported):
            self.driver.terminate()
        if translated is not error:
            try:
                raise translated from error
            finally:
                del translated, error  # their tracebacks refer to this frame: reference cycles
        if hasattr(error, "sqlstate"):
            self.needs_check = False  # the server has answered

    async def ping(self, seconds: float | None = None) -> bool:
        """Whether the server answers in time. Waits first for a cancellation under way."""
        try:
            limit = seconds or max(CANCEL_SECONDS, self._settings.statement_timeout)
            await self.driver.execute("select 1", timeout=limit)
        except Exception:  # any error means that the connection cannot be used
            return False
        self.needs_check = False
        return True
