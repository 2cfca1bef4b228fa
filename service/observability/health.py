"""The probes /health, /livez and /readyz. They read values in memory and add no load to the database.

Only readiness depends on the database, because a restart of the process does not repair the database.
"""

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

NO_USER = UUID(int=0)
"""An id that no user has."""

CHECKS = (
    (Statement("get_task"), (NO_USER,)),
    (Statement("update_task"), (NO_USER, None, False, None)),
)
"""One read and one write that find no row, with the arguments after the user's id."""

SHARED_CAUSES = frozenset("0A000 25006 3F000 42501 42703 42883 42P01".split())
"""SQLSTATEs of causes that make all reads or all writes fail: a missing grant, column, table or function, or a server
that is read-only."""

NAME_CONFLICT_SECONDS = 30.0
"""The process is not ready for this long after a conflict of prepared statement names.

Behind a pooler without prepared statements, some statements succeed by chance, so one success does not prove that the
conflict is resolved.
"""


class Alive(msgspec.Struct, frozen=True):
    """The body of /health and /livez."""

    status: Literal["healthy", "alive"]


class PoolStatus(msgspec.Struct, frozen=True):
    """The numbers of open and idle connections, and of requests that wait for a connection."""

    open: int
    idle: int
    waiting: int


class Ready(msgspec.Struct, frozen=True):
    """The body of /readyz. `last_answer_seconds` is the time since the last response of the database."""

    status: Literal["ready"]
    last_answer_seconds: float
    pool: PoolStatus


def health() -> Response:
    """Report that the process answers, with the status `healthy` that older frontends expect.

    It does not query the database.
    """
    return Response(200, encode(Alive("healthy")))


def livez() -> Response:
    """Report that the process answers.

    For a liveness probe: restart the process when it fails. It does not query the database.
    """
    return Response(200, encode(Alive("alive")))


class Health:
    """The readiness of this process. `watch()` keeps it up to date. While `stopping` is true, it is not ready."""

    def __init__(self, settings: Settings, database: Database, authenticator: Authenticator) -> None:
        self.stopping = False
        self._authenticator = authenticator
        self._settings = settings
        self._database = database
        self._bundled = set(bundled())
        self._missing: set[str] | None = None  # None until the migrations were read
        self._unreadable = ""  # why the migrations cannot be read
        self._failing: list[str] = []

    async def watch(self) -> None:
        """Check the database every PROBE_INTERVAL seconds, and log each change of readiness."""
        logged: list[str] = []
        while True:
            await self._read_migrations()
            await self._check_statements()
            connecting = not self._database.connections and self._database.failure is None
            if not (self.stopping or connecting):
                reasons = self._reasons()
                # Compare without the ages and errors after the colon, which change every second.
                kinds = [reason.partition(":")[0] for reason in reasons]
                if kinds != logged:
                    logger.warning("not ready: %s", "; ".join(reasons)) if reasons else logger.warning("ready")
                logged = kinds
            await asyncio.sleep(self._settings.probe_interval)

    async def _read_migrations(self) -> None:
        try:
            rows = await self._database.probe(APPLIED_MIGRATIONS)
        except Exception as error:  # any failure is a reason not to be ready
            rows = [] if getattr(error, "sqlstate", None) == NO_SUCH_TABLE else None
            self._unreadable = f": {_with_remedy(error)}"
        if rows is not None:
            self._missing = self._bundled - {row["migration_id"] for row in rows}

    async def _check_statements(self) -> None:
        """Run CHECKS if a statement of a request has failed for one of SHARED_CAUSES and not succeeded since."""
        failing = []
        if any(_is_shared(error) for error in self._database.failing.values()):
            for statement, arguments in CHECKS:
                try:
                    await self._database.run(statement, NO_USER, *arguments)
                except Exception as error:  # any other cause, such as a timeout, affects only this statement
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
        """Report whether this process should get traffic, and the reasons if not.

        For a readiness probe. `errors` has an entry for each reason.
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
        pool = PoolStatus(len(database.connections), len(database.idle), database.waiting_requests)
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
        Ready("ready", 0.412, PoolStatus(open=5, idle=4, waiting=0)),
        problems=(Problem(NOT_READY, (FieldError(["service"], "no connection to the database", "unready"),)),),
    ),
}
"""For the OpenAPI document, by the handler's name."""
