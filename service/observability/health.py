"""The probes, all answered from memory: they add no load, and a fault of the database never restarts the process."""

import asyncio
import logging
import time
from typing import Literal
from uuid import UUID

import msgspec

from service.api.openapi.operation import Operation
from service.api.payloads import Response, encode, problem_response
from service.api.problems import NOT_READY, FieldError, Problem
from service.auth.authenticator import Authenticator
from service.db.database import Database
from service.db.errors import PreparedStatementsUnsupported, UnsuitableServer
from service.db.failures import description, remedy
from service.db.migrations import bundled
from service.db.statements import Statement
from service.settings import Settings

logger = logging.getLogger(__name__)

APPLIED_MIGRATIONS = Statement("applied_migrations")

NO_SUCH_TABLE = "42P01"

NOBODY = UUID(int=0)
CHECKS = (
    (Statement("get_task"), (NOBODY,)),
    (Statement("update_task"), (NOBODY, None, False, None)),
)
"""One read and one write that find no row, with their arguments after the user's id."""

SHARED_CAUSES = frozenset("0A000 25006 3F000 42501 42703 42883 42P01".split())
"""SQLSTATEs that every statement of a kind meets alike: a grant, column, table, function or the server's state."""

NAME_CONFLICT_SECONDS = 30.0
"""Unready for this long after a name conflict: behind a pooler, other statements succeed by chance."""


class Alive(msgspec.Struct, frozen=True):
    """The body of /health and /livez."""

    status: Literal["healthy", "alive"]


class Pool(msgspec.Struct, frozen=True):
    """The connections to the database, and the requests that wait for one."""

    open: int
    idle: int
    waiting: int


class Ready(msgspec.Struct, frozen=True):
    """The body of /readyz. `last_answer_seconds`: since the database's last response."""

    status: Literal["ready"]
    last_answer_seconds: float
    pool: Pool


def health() -> Response:
    """Tell that the process answers, in the words that older frontends expect.

    The database is not asked.
    """
    return Response(200, encode(Alive("healthy")))


def livez() -> Response:
    """Tell that the process answers.

    For a liveness probe: when it fails, restart the process. The database is not asked.
    """
    return Response(200, encode(Alive("alive")))


class Health:
    """Readiness. `watch` keeps it up to date; `stopping` makes it false."""

    def __init__(self, settings: Settings, database: Database, authenticator: Authenticator) -> None:
        self.stopping = False
        self._authenticator = authenticator
        self._settings = settings
        self._database = database
        self._bundled = set(bundled())
        self._missing: set[str] | None = None  # unknown
        self._unreadable = ""  # why the migrations cannot be read
        self._failing: list[str] = []

    async def watch(self) -> None:
        """Check the database every PROBE_INTERVAL seconds, and log each change of readiness."""
        logged = None
        while True:
            await self._read_migrations()
            await self._check_statements()
            connecting = not self._database.connections and self._database.failure is None
            reasons = [] if self.stopping or connecting else self._reasons()
            kinds = [reason.partition(":")[0] for reason in reasons]  # without what changes by the second
            if kinds != (logged or []):
                logger.warning("not ready: %s", "; ".join(reasons)) if reasons else logger.warning("ready")
            logged = kinds
            await asyncio.sleep(self._settings.probe_interval)

    async def _read_migrations(self) -> None:
        try:
            rows = await self._database.probe(APPLIED_MIGRATIONS)
        except Exception as error:  # whatever it is, readiness shows it
            rows = [] if getattr(error, "sqlstate", None) == NO_SUCH_TABLE else None
            self._unreadable = f": {_with_remedy(error)}"
        if rows is not None:
            self._missing = self._bundled - {row[0] for row in rows}

    async def _check_statements(self) -> None:
        """Run the checks while a request's statement fails for a cause that others share."""
        failing = []
        if any(_is_shared(error) for error in self._database.failing.values()):
            for statement, arguments in CHECKS:
                try:
                    await self._database.run(statement, NOBODY, *arguments)
                except Exception as error:  # others, such as a timeout, say nothing of the next statement
                    if _is_shared(error):
                        failing.append(f"{statement.name} fails: {_with_remedy(error)}")
        self._failing = failing

    def _reasons(self) -> list[str]:
        database, age = self._database, time.monotonic() - self._database.last_response_at
        if time.monotonic() - database.name_conflict_at < NAME_CONFLICT_SECONDS:
            return [str(PreparedStatementsUnsupported())]
        if not database.connections:
            failure = database.failure
            if isinstance(failure, UnsuitableServer):
                return [str(failure)]
            if getattr(failure, "sqlstate", None) == NO_SUCH_TABLE:
                return ["migrations have not run"]
            return ["no connection to the database" + (f": {_with_remedy(failure)}" if failure else "")]
        if age > self._settings.probe_interval + 2 * self._settings.statement_timeout:
            return [f"the database has not answered: {age:.0f} s"]
        if self._missing is None:
            return [f"migrations cannot be read{self._unreadable}"]
        if self._missing:
            return ["migrations have not run: " + ", ".join(sorted(self._missing))]
        return self._failing

    def readyz(self) -> Response:
        """Tell whether this process should get traffic, and if not, why.

        For a readiness probe. `errors` has a member for each reason.
        """
        database = self._database
        reasons = (["stopping"] if self.stopping else []) + self._reasons()
        if not self._authenticator.has_keys:
            reasons.append("no key set has been read from the tokens' issuer")
        if reasons:
            return problem_response(
                Problem(NOT_READY, tuple(FieldError(["service"], reason, "unready") for reason in reasons))
            )
        age = time.monotonic() - database.last_response_at
        pool = Pool(len(database.connections), len(database.idle), database.waiting_requests)
        return Response(200, encode(Ready("ready", round(age, 3), pool)))


def _with_remedy(error: Exception) -> str:
    return f"{description(error)}. {remedy(error) or ''}".rstrip()


def _is_shared(error: Exception) -> bool:
    return getattr(error, "sqlstate", None) in SHARED_CAUSES


OPERATIONS = {
    "health": Operation(200, Alive, Alive("healthy")),
    "livez": Operation(200, Alive, Alive("alive")),
    "readyz": Operation(
        200,
        Ready,
        Ready("ready", 0.412, Pool(open=5, idle=4, waiting=0)),
        problems=(Problem(NOT_READY, (FieldError(["service"], "no connection to the database", "unready"),)),),
    ),
}
"""For the OpenAPI document, by the handler's name."""
