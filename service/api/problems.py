"""The error table: every refusal that a caller can see, and which exception or constraint becomes which.

Handlers raise Problem; nothing here sends it (see wire.py). The documents follow RFC 9457.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from service.auth.errors import InvalidToken, KeysUnavailable
from service.db.errors import DatabaseUnavailable, OutcomeUnknown, PoolTimeout, QueueFull

Headers = tuple[tuple[bytes, bytes], ...]

RETRY_SOON: Headers = ((b"retry-after", b"1"),)
RETRY_LATER: Headers = ((b"retry-after", b"5"),)


class ProblemType(msgspec.Struct, frozen=True):
    """One row of the table."""

    status: int
    title: str
    detail: str
    headers: Headers = ()
    uri: str = "about:blank"


BAD_REQUEST = ProblemType(400, "Bad Request", "This is not a valid HTTP request.")
NOT_FOR_THIS_PAGE = ProblemType(400, "Bad Request", "A page of this origin may not make this call.")
UNAUTHORIZED = ProblemType(
    401, "Unauthorized", "Sign in: there is no valid bearer token.", ((b"www-authenticate", b"Bearer"),)
)
FORBIDDEN = ProblemType(403, "Forbidden", "These are another user's tasks.")
UNKNOWN_USER = ProblemType(403, "Forbidden", "This user has not been registered here.")
NOT_FOUND = ProblemType(404, "Not Found", "There is nothing here.")
NO_SUCH_TASK = ProblemType(404, "Not Found", "There is no such task.")
METHOD_NOT_ALLOWED = ProblemType(405, "Method Not Allowed", "This address does not take this method.")
REQUEST_TIMEOUT = ProblemType(408, "Request Timeout", "The request took too long to arrive.")
PRECONDITION_FAILED = ProblemType(
    412, "Precondition Failed", "The task has been changed meanwhile. Get it again first."
)
CONTENT_TOO_LARGE = ProblemType(413, "Content Too Large", "The body is too large.")
UNSUPPORTED_ENCODING = ProblemType(415, "Unsupported Media Type", "Send the body without a Content-Encoding.")
INVALID = ProblemType(422, "Unprocessable Content", "The request is not valid.")
HEADERS_TOO_LARGE = ProblemType(431, "Request Header Fields Too Large", "The request's headers are too large.")
UNEXPECTED = ProblemType(500, "Internal Server Error", "Something went wrong here. It has been logged.")
UNAVAILABLE = ProblemType(503, "Service Unavailable", "The service cannot answer right now. Try again.", RETRY_SOON)
OVERLOADED = ProblemType(503, "Service Unavailable", "Too many requests are waiting. Try again.", RETRY_SOON)
STORAGE_FULL = ProblemType(
    503, "Service Unavailable", "The service has no room right now. Try again later.", RETRY_LATER
)
NOT_READY = ProblemType(503, "Service Unavailable", "Not ready.", RETRY_SOON)
NO_KEYS = ProblemType(503, "Service Unavailable", "Tokens cannot be verified right now. Try again.", RETRY_SOON)
OUTCOME_UNKNOWN = ProblemType(
    503,
    "Service Unavailable",
    "The change may or may not have been saved. Look before you try again.",
    RETRY_SOON,
    uri="urn:problem:outcome-unknown",
)

SQLSTATES = {
    "08": UNAVAILABLE,  # connection lost or refused
    "0A000": UNAVAILABLE,  # a plan that outlived its table, twice
    "22021": INVALID,  # a character that the database's encoding lacks
    "22P05": INVALID,
    "22001": INVALID,
    "25006": UNAVAILABLE,  # read-only: a primary that became a standby
    "28": UNAVAILABLE,  # the role or its password is refused
    "3D000": UNAVAILABLE,  # no such database
    "40": UNAVAILABLE,  # serialization failure, deadlock
    "42501": UNAVAILABLE,  # a grant is missing
    "42P01": UNAVAILABLE,  # migrations have not run
    "42703": UNAVAILABLE,
    "53100": STORAGE_FULL,
    "53": UNAVAILABLE,  # too many connections, out of memory
    "55P03": UNAVAILABLE,  # lock_timeout
    "57": UNAVAILABLE,  # cancelled, shutting down, starting up
    "58": UNAVAILABLE,  # I/O error
    "XX": UNAVAILABLE,
}
"""The longest prefix of the error's SQLSTATE decides. PostgreSQL manual, appendix A."""

CONSTRAINTS = {
    "task_belongs_to_user": UNKNOWN_USER,
    "task_title_length": INVALID,
    "task_title_not_blank": INVALID,
}
"""What the database refuses although the API should have refused it first."""


EXCEPTIONS: dict[type[Exception], ProblemType] = {
    InvalidToken: UNAUTHORIZED,
    KeysUnavailable: NO_KEYS,
    DatabaseUnavailable: UNAVAILABLE,
    PoolTimeout: UNAVAILABLE,
    QueueFull: OVERLOADED,
    OutcomeUnknown: OUTCOME_UNKNOWN,
}
"""The exceptions of auth and db, neither of which knows HTTP."""


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where."""

    loc: Annotated[list[str], Meta(description="the place, from the outside in", examples=[["body", "title"]])]
    msg: Annotated[str, Meta(description="what is wrong, in words")]
    type: Annotated[str, Meta(description="what is wrong, for programs")]


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457, section 3.1, with `errors` besides."""

    type: Annotated[str, Meta(description="`about:blank` unless a program must tell this one from its status's others")]
    title: Annotated[str, Meta(description="the status in words")]
    status: int
    detail: Annotated[str, Meta(description="a sentence to show")]
    errors: Annotated[
        tuple[FieldError, ...], Meta(description="what is wrong with the request; absent when none is")
    ] = ()


class Problem(Exception):
    """A refusal: `kind` of the table, with what differs from case to case."""

    def __init__(self, type: ProblemType, errors: tuple[FieldError, ...] = (), headers: Headers = ()) -> None:
        super().__init__(type.detail)
        self.type = type
        self.errors = errors
        self.headers = type.headers + headers

    def document(self) -> bytes:
        """The problem document, as JSON."""
        type = self.type
        detail = "; ".join(f"{fault.loc[-1]}: {fault.msg}" for fault in self.errors) or type.detail
        return msgspec.json.encode(ProblemDocument(type.uri, type.title, type.status, detail, self.errors))


def invalid(loc: list[str], msg: str, type: str) -> Problem:
    """A 422 that names the place, for example ["body", "title"]."""
    return Problem(INVALID, (FieldError(loc, msg, type),))


def problem_for(error: Exception) -> Problem:
    """The table's row for any exception; UNEXPECTED when it has none."""
    if isinstance(error, Problem):
        return error
    sqlstate = getattr(error, "sqlstate", None) or ""
    kind = (
        EXCEPTIONS.get(type(error))
        or CONSTRAINTS.get(getattr(error, "constraint_name", None) or "")
        or SQLSTATES.get(sqlstate)
        or SQLSTATES.get(sqlstate[:2])
        or (UNAVAILABLE if isinstance(error, OSError) else UNEXPECTED)  # TimeoutError is an OSError
    )
    return invalid(["body"], "has a value that cannot be stored", "storage") if kind is INVALID else Problem(kind)
