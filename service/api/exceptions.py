"""The error table: the problem that each exception becomes.

Neither `auth` nor `db` knows HTTP. A database error is identified by its SQLSTATE and its constraint, so that
asyncpg is imported in db/driver.py only.
"""

import re

import msgspec

from service.api.problems import (
    INVALID,
    INVALID_TOKEN,
    NO_KEYS,
    OUTCOME_UNKNOWN,
    OVERLOADED,
    RULE_VIOLATED,
    STORAGE_FULL,
    TOKEN_TOO_LARGE,
    UNAVAILABLE,
    UNEXPECTED,
    UNKNOWN_USER,
    Problem,
    ProblemType,
    invalid,
)
from service.auth.errors import REASONS, InvalidToken, KeysUnavailable, TokenTooLarge
from service.db.errors import (
    DatabaseUnavailable,
    OutcomeUnknown,
    PoolTimeout,
    PreparedStatementsUnsupported,
    QueueFull,
)

SQLSTATES = {
    "08": UNAVAILABLE,  # connection lost or refused
    "0A000": UNAVAILABLE,  # a cached plan that is still invalid after MAX_PREPARES preparations
    "22": INVALID,  # a value that the column, or the database's encoding, cannot hold
    "23": RULE_VIOLATED,  # a constraint that the database's owner added
    "25006": UNAVAILABLE,  # read-only: a primary that became a standby
    "28": UNAVAILABLE,  # the role or its password is refused
    "3D000": UNAVAILABLE,  # no such database
    "40": UNAVAILABLE,  # serialization failure, deadlock
    "42601": UNEXPECTED,  # a syntax error in sql/
    "42": UNAVAILABLE,  # the schema is not this release's: migrations have not run, a grant or an index is missing
    "53100": STORAGE_FULL,
    "53": UNAVAILABLE,  # too many connections, out of memory
    "55": UNAVAILABLE,  # lock_timeout, or a table that cannot be written now
    "57": UNAVAILABLE,  # cancelled, shutting down, starting up
    "58": UNAVAILABLE,  # I/O error
    "P0001": RULE_VIOLATED,  # raise exception in a trigger that the database's owner added
    "XX": UNAVAILABLE,
}
"""The longest prefix of the error's SQLSTATE decides. PostgreSQL manual, appendix A."""

CONSTRAINTS = {
    "task_belongs_to_user": UNKNOWN_USER,
    "task_title_length": INVALID,
    "task_title_not_blank": INVALID,
    "task_times_have_four_digit_years": UNEXPECTED,
}
"""Constraints of the database: INVALID if a value of a client violates it, UNEXPECTED if only a bug can.

The API checks the title first.
"""

SHARD = re.compile(r"_\d+$")
"""The end of a constraint's name that Citus reports: task_belongs_to_user_102040 is the constraint of a shard."""

UNNAMED_CONSTRAINTS = {"23503": UNKNOWN_USER}
"""By SQLSTATE, for a distributed database that reports no constraint: tasks have one foreign key."""

EXCEPTIONS: dict[type[Exception], ProblemType] = {
    TokenTooLarge: TOKEN_TOO_LARGE,
    KeysUnavailable: NO_KEYS,
    DatabaseUnavailable: UNAVAILABLE,
    PoolTimeout: UNAVAILABLE,
    QueueFull: OVERLOADED,
    OutcomeUnknown: OUTCOME_UNKNOWN,
    PreparedStatementsUnsupported: UNAVAILABLE,
}
"""The problem of each of these exceptions of auth and db. problem_for() decides about all other exceptions."""

INVALID_TOKENS = {
    reason: msgspec.structs.replace(
        INVALID_TOKEN,
        detail=sentence,
        # RFC 6750, section 3.1: this distinguishes a refused token from a missing one.
        headers=((b"www-authenticate", f'Bearer error="invalid_token", error_description="{sentence}"'.encode()),),
    )
    for reason, sentence in REASONS.items()
}
"""By the reason of an InvalidToken."""


def problem_for(error: Exception) -> Problem:
    """The problem for any exception; UNEXPECTED if the table has none."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidToken):
        return Problem(INVALID_TOKENS[error.reason])
    sqlstate = getattr(error, "sqlstate", None) or ""
    constraint = getattr(error, "constraint_name", None)
    type_ = (
        EXCEPTIONS.get(type(error))
        or (CONSTRAINTS.get(SHARD.sub("", constraint)) if constraint else UNNAMED_CONSTRAINTS.get(sqlstate))
        or SQLSTATES.get(sqlstate)
        or SQLSTATES.get(sqlstate[:2])
        or (UNAVAILABLE if isinstance(error, OSError) else UNEXPECTED)  # TimeoutError is an OSError
    )
    return invalid(["body"], "storage") if type_ is INVALID else Problem(type_)
