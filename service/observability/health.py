"""Probes, all answered from memory: they add no load, and never restart us for the database's faults."""

import asyncio
import logging
import time
from typing import Literal

import msgspec

from service.api.openapi.operation import Operation
from service.api.payloads import Response, encode, problem_response
from service.api.problems import NOT_READY, FieldError, Problem
from service.db.database import Database
from service.db.errors import UnsuitableServer
from service.db.migrations import bundled
from service.db.statements import Statement
from service.settings import Settings

logger = logging.getLogger(__name__)

APPLIED_MIGRATIONS = Statement("applied_migrations")

NO_SUCH_TABLE = "42P01"
NO_GRANT = "42501"


class Alive(msgspec.Struct, frozen=True):
    """What a probe of the process answers."""

    status: Literal["healthy", "alive"]


class Pool(msgspec.Struct, frozen=True):
    """Connections to the database, and requests that wait for one."""

    open: int
    idle: int
    waiting: int


class Ready(msgspec.Struct, frozen=True):
    """What /readyz answers; the database last answered so many seconds ago."""

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
    """What the probes say. `watch` keeps it true; `stopping` makes readiness false."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.stopping = False
        self._settings = settings
        self._database = database
        self._bundled = set(bundled())
        self._missing: set[str] | None = None  # until they could be read

    async def watch(self) -> None:
        """Asks the database every PROBE_INTERVAL seconds which migrations it has, on a connection that is free."""
        told = False
        while True:
            try:
                rows = await self._database.probe(APPLIED_MIGRATIONS)
            except Exception as error:  # readyz shows it: no migrations, or no answer for too long
                sqlstate = getattr(error, "sqlstate", None)
                rows = [] if sqlstate == NO_SUCH_TABLE else None
                if sqlstate == NO_GRANT and not told:
                    told = True
                    logger.warning("migrations cannot be read: %s", error)
            if rows is not None:
                self._missing = self._bundled - {row[0] for row in rows}
            await asyncio.sleep(self._settings.probe_interval)

    def readyz(self) -> Response:
        """Tell whether this process should get traffic, and if not, why.

        For a readiness probe. `errors` has a member for each reason.
        """
        database, age = self._database, time.monotonic() - self._database.last_response_at
        reasons = []
        if self.stopping:
            reasons.append("stopping")
        if not database.connections:
            if isinstance(database.failure, UnsuitableServer):
                reasons.append(str(database.failure))
            elif getattr(database.failure, "sqlstate", None) == NO_SUCH_TABLE:
                reasons.append("migrations have not run")
            else:
                reasons.append("no connection to the database")
        elif age > self._settings.probe_interval + 2 * self._settings.statement_timeout:
            reasons.append(f"the database has not answered for {age:.0f} s")
        elif self._missing is None:
            reasons.append("migrations cannot be read")
        elif self._missing:
            reasons.append("migrations have not run: " + ", ".join(sorted(self._missing)))
        if reasons:
            return problem_response(
                Problem(NOT_READY, tuple(FieldError(["service"], reason, "unready") for reason in reasons))
            )
        pool = Pool(len(database.connections), len(database.idle), database.waiting_requests)
        return Response(200, encode(Ready("ready", round(age, 3), pool)))


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
