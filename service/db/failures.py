"""Logs why statements fail, at a bounded rate and with a remedy, and counts the failures by cause."""

import logging
import time
from collections import Counter
from collections.abc import Callable

from service.db.errors import DatabaseUnavailable, UnsuitableServer

logger = logging.getLogger(__name__)

LOG_SECONDS = 10.0
"""The same failure of the same operation is logged at most once in this time."""

MESSAGE_LENGTH = 300
"""The most characters of a server's message in a description."""

REMEDIES = {
    "08": "Check the address in DATABASE_URL, and the server's log.",
    "08P01": "Behind a pooler, compare DATABASE_URL with its databases, users, TLS and limits, and see its log.",
    "0A000": "A migration changed a table: if this goes on behind a pooler, run RECONNECT on it.",
    "25006": "The database is read-only: point DATABASE_URL at the primary, or free the disk.",
    "26000": "The pooler keeps no prepared statements: set PREPARED_STATEMENTS=false.",
    "28": "Check the role and the password in DATABASE_URL, and the server's pg_hba.conf.",
    "3D000": "Create the database, or correct its name in DATABASE_URL.",
    "3F000": "Create the schema, or correct the role's search_path.",
    "40": "Concurrent changes collided more often than they were retried: look for long transactions.",
    "42501": "Run roles/grant.sql, or grant the privilege to the service's role.",
    "42703": "Run the migrations of this release: python -m service migrate.",
    "42883": "Run roles/functions.sql of this release, or set ROW_LEVEL_SECURITY=false.",
    "42P01": "Run the migrations: python -m service migrate. If they have run, check the role's search_path.",
    "42P05": "The pooler keeps no prepared statements: set PREPARED_STATEMENTS=false.",
    "53100": "Free the server's disk.",
    "53200": "Give the server more memory, or lower its work_mem or POOL_MAX_SIZE.",
    "53300": "Lower POOL_MIN_SIZE, POOL_MAX_SIZE or WORKERS, or raise the server's max_connections.",
    "53": "Give the server the resource that it lacks.",
    "55P03": "Another session holds a lock: see pg_locks, and pg_stat_activity for its transaction.",
    "57014": "The statement was cancelled or took too long: see pg_stat_activity for locks and load.",
    "57P": "The server is starting or stopping: the service connects again by itself.",
    "58": "See the server's log: it met an error of its disk or system.",
    "XX": "See the server's log: it met an internal error.",
    "DatabaseUnavailable": "Check that the server runs and that DATABASE_URL leads to it.",
    "OutcomeUnknown": "Check the synchronous standby: pg_stat_replication.",
    "PoolTimeout": "Every connection is in use: look for slow statements and locks, or raise POOL_MAX_SIZE.",
    "FileNotFoundError": "Check the paths in DATABASE_URL: of certificates and keys, or of the socket's folder.",
    "SSLCertVerificationError": "Check the host and sslrootcert in DATABASE_URL against the certificate.",
    "gaierror": "Check the host in DATABASE_URL: its name has no address.",
    "QueueFull": "More requests wait than MAX_WAITING allows: look for slow statements, or add instances.",
    "ConnectTimeout": "No answer within CONNECT_TIMEOUT: check DATABASE_URL, firewalls and the server's load.",
    "ConnectionRefusedError": "Check that the server runs, and the host and port in DATABASE_URL.",
    "TimeoutError": "No response within STATEMENT_TIMEOUT: see pg_stat_activity for locks and load, and the network.",
}
"""The remedy for an operator, by exception or by the longest prefix of the SQLSTATE (PostgreSQL manual, appendix A)."""

WITHOUT_VALUES = ("08", "0A", "25", "26", "28", "3D", "3F", "42", "53", "55", "57", "58")
"""Classes of SQLSTATE with messages that are safe to log: they name relations, columns and roles, but no values."""


class FailureLog:
    """Logs failures of the database, and counts them in `counts` by SQLSTATE, or by exception where there is none.

    `connection_failure` returns why the last attempt to connect failed: the cause of each DatabaseUnavailable.
    """

    def __init__(
        self,
        connection_failure: Callable[[], Exception | None] = lambda: None,
        log_seconds: float = LOG_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._connection_failure = connection_failure
        self._log_seconds = log_seconds
        self._clock = clock
        self._logged_at: dict[tuple[str, str], float] = {}
        self._unlogged: Counter[tuple[str, str]] = Counter()

    def note(self, operation: str, error: BaseException) -> None:
        """Count a failure of `operation`, and log it unless the same failure was logged just now."""
        cause = _cause(error)
        reason = _sqlstate(cause) or type(cause).__name__
        self.counts[reason] += 1
        failure, now = (operation, reason), self._clock()
        if now - self._logged_at.get(failure, float("-inf")) < self._log_seconds:
            self._unlogged[failure] += 1
            return
        self._logged_at[failure] = now
        prefix = ""
        if isinstance(cause, DatabaseUnavailable) and (why := self._connection_failure()):
            prefix, cause = "no connection to the database: ", why
        members = {
            "operation": operation,
            "sqlstate": _sqlstate(cause),
            "constraint": getattr(cause, "constraint_name", None),
            "relation": getattr(cause, "table_name", None),
            "remedy": remedy(cause),
            "repeats": self._unlogged.pop(failure, None),
        }
        given = {name: value for name, value in members.items() if value}
        logger.warning("%s failed: %s%s", operation, prefix, description(cause), extra={"members": given})


def description(error: BaseException) -> str:
    """Describe an exception without any value of a row or an argument: by the server's message only if that is safe."""
    sqlstate = _sqlstate(error)
    # RAISE of PL/pgSQL may combine any SQLSTATE with a message that has values.
    raised = getattr(error, "server_source_function", None) == "exec_stmt_raise"
    if sqlstate and sqlstate.startswith(WITHOUT_VALUES) and not raised:
        return f"{str(error.args[0])[:MESSAGE_LENGTH]} ({sqlstate})"  # without DETAIL and HINT
    if isinstance(error, UnsuitableServer):
        return str(error)
    if isinstance(error, OSError) and str(error):
        return f"{type(error).__name__}: {error}"
    return f"SQLSTATE {sqlstate}" if sqlstate else type(error).__name__


def remedy(error: BaseException) -> str | None:
    """The remedy for an exception, or None."""
    key = _sqlstate(error) or type(error).__name__
    while key and key not in REMEDIES:
        key = key[:-1] if _sqlstate(error) else ""
    return REMEDIES.get(key)


def _cause(error: BaseException) -> BaseException:
    """The first exception of the chain of causes with an SQLSTATE, else the last.

    ConnectionLost, for example, has the driver's error as its cause.
    """
    while error.__cause__ and not _sqlstate(error) and not isinstance(error, TimeoutError):
        error = error.__cause__
    return error


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None)
