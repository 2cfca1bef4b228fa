"""The error table: every refusal that a caller can see, and which exception or constraint becomes which.

Handlers raise Problem; nothing here sends it (see wire.py). The documents follow RFC 9457.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

Headers = tuple[tuple[bytes, bytes], ...]

RETRY_SOON: Headers = ((b"retry-after", b"1"),)
RETRY_LATER: Headers = ((b"retry-after", b"5"),)


class Kind(msgspec.Struct, frozen=True):
    """One row of the table."""

    status: int
    title: str
    detail: str
    headers: Headers = ()
    type: str = "about:blank"


BAD_REQUEST = Kind(400, "Bad Request", "This is not a valid HTTP request.")
NOT_FOR_THIS_PAGE = Kind(400, "Bad Request", "A page of this origin may not make this call.")
UNAUTHORIZED = Kind(
    401, "Unauthorized", "Sign in: there is no valid bearer token.", ((b"www-authenticate", b"Bearer"),)
)
FORBIDDEN = Kind(403, "Forbidden", "These are another user's tasks.")
UNKNOWN_USER = Kind(403, "Forbidden", "This user has not been registered here.")
NOT_FOUND = Kind(404, "Not Found", "There is nothing here.")
NO_SUCH_TASK = Kind(404, "Not Found", "There is no such task.")
METHOD_NOT_ALLOWED = Kind(405, "Method Not Allowed", "This address does not take this method.")
REQUEST_TIMEOUT = Kind(408, "Request Timeout", "The request took too long to arrive.")
PRECONDITION_FAILED = Kind(412, "Precondition Failed", "The task has been changed meanwhile. Get it again first.")
CONTENT_TOO_LARGE = Kind(413, "Content Too Large", "The body is too large.")
UNSUPPORTED_ENCODING = Kind(415, "Unsupported Media Type", "Send the body without a Content-Encoding.")
INVALID = Kind(422, "Unprocessable Content", "The request is not valid.")
HEADERS_TOO_LARGE = Kind(431, "Request Header Fields Too Large", "The request's headers are too large.")
UNEXPECTED = Kind(500, "Internal Server Error", "Something went wrong here. It has been logged.")
UNAVAILABLE = Kind(503, "Service Unavailable", "The service cannot answer right now. Try again.", RETRY_SOON)
OVERLOADED = Kind(503, "Service Unavailable", "Too many requests are waiting. Try again.", RETRY_SOON)
STORAGE_FULL = Kind(503, "Service Unavailable", "The service has no room right now. Try again later.", RETRY_LATER)
NOT_READY = Kind(503, "Service Unavailable", "Not ready.", RETRY_SOON)
NO_KEYS = Kind(503, "Service Unavailable", "Tokens cannot be verified right now. Try again.", RETRY_SOON)
OUTCOME_UNKNOWN = Kind(
    503,
    "Service Unavailable",
    "The change may or may not have been saved. Look before you try again.",
    RETRY_SOON,
    type="urn:problem:outcome-unknown",
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


class Fault(msgspec.Struct, frozen=True):
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
    errors: Annotated[tuple[Fault, ...], Meta(description="what is wrong with the request; absent when none is")] = ()


class Problem(Exception):
    """A refusal: `kind` of the table, with what differs from case to case."""

    def __init__(self, kind: Kind, errors: tuple[Fault, ...] = (), headers: Headers = ()) -> None:
        super().__init__(kind.detail)
        self.kind = kind
        self.errors = errors
        self.headers = kind.headers + headers

    def document(self) -> bytes:
        """The problem document, as JSON."""
        kind = self.kind
        detail = "; ".join(f"{fault.loc[-1]}: {fault.msg}" for fault in self.errors) or kind.detail
        return msgspec.json.encode(ProblemDocument(kind.type, kind.title, kind.status, detail, self.errors))


def invalid(loc: list[str], msg: str, type: str) -> Problem:
    """A 422 that names the place, for example ["body", "title"]."""
    return Problem(INVALID, (Fault(loc, msg, type),))


def problem_for(error: Exception) -> Problem:
    """The table's row for any exception; UNEXPECTED when it has none."""
    if isinstance(error, Problem):
        return error
    sqlstate = getattr(error, "sqlstate", None) or ""
    kind = (
        CONSTRAINTS.get(getattr(error, "constraint_name", None) or "")
        or SQLSTATES.get(sqlstate)
        or SQLSTATES.get(sqlstate[:2])
        or (UNAVAILABLE if isinstance(error, OSError) else UNEXPECTED)  # TimeoutError is an OSError
    )
    return invalid(["body"], "has a value that cannot be stored", "storage") if kind is INVALID else Problem(kind)
