"""Every problem that a client can see, and the problem document that shows it.

Handlers raise Problem; payloads.py and edge/cycle.py send it as a problem document (RFC 9457). Every text here is a
sentence that a page may show to its user.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

Headers = tuple[tuple[bytes, bytes], ...]

RETRY_SOON: Headers = ((b"retry-after", b"1"),)
RETRY_LATER: Headers = ((b"retry-after", b"5"),)


class ProblemType(msgspec.Struct, frozen=True):
    """A row of the table. `title` is the status in words, `detail` a sentence for the user."""

    status: int
    title: str
    detail: str
    headers: Headers = ()
    uri: str = "about:blank"


BAD_REQUEST = ProblemType(400, "Bad Request", "This is not a valid HTTP request.")
ORIGIN_NOT_ALLOWED = ProblemType(
    400, "Bad Request", "Pages of this origin may not call this service. CORS_ORIGINS does not list the origin."
)
METHOD_NOT_FOR_PAGES = ProblemType(400, "Bad Request", "Pages of other origins may not use this method.")
PRIVATE_NETWORK_NOT_ALLOWED = ProblemType(
    400, "Bad Request", "Pages may not call this service in a private network. CORS_PRIVATE_NETWORK is not set."
)
UNAUTHORIZED = ProblemType(
    401,
    "Unauthorized",
    "Sign in: the bearer token is missing.",
    ((b"www-authenticate", b"Bearer"),),
)
INVALID_TOKEN = ProblemType(
    401, "Unauthorized", "The token is not valid.", ((b"www-authenticate", b'Bearer error="invalid_token"'),)
)
FORBIDDEN = ProblemType(403, "Forbidden", "These are another user's tasks.")
UNKNOWN_USER = ProblemType(403, "Forbidden", "This user has not been registered here.")
NOT_FOUND = ProblemType(404, "Not Found", "There is nothing here.")
NO_SUCH_TASK = ProblemType(404, "Not Found", "There is no such task.")
METHOD_NOT_ALLOWED = ProblemType(405, "Method Not Allowed", "This address does not take this method.")
REQUEST_TIMEOUT = ProblemType(408, "Request Timeout", "The request took too long to arrive.")
RULE_VIOLATED = ProblemType(409, "Conflict", "A rule of this service's database does not allow this change.")
PRECONDITION_FAILED = ProblemType(
    412, "Precondition Failed", "It has been changed meanwhile. Load it again before you change it."
)
CONTENT_TOO_LARGE = ProblemType(413, "Content Too Large", "The body is too large.")
UNSUPPORTED_ENCODING = ProblemType(415, "Unsupported Media Type", "Send the body without a Content-Encoding.")
INVALID = ProblemType(422, "Unprocessable Content", "The request is not valid.")
HEADERS_TOO_LARGE = ProblemType(431, "Request Header Fields Too Large", "The request's headers are too large.")
TOKEN_TOO_LARGE = ProblemType(
    431,
    "Request Header Fields Too Large",
    "The token is larger than this service accepts. Signing in again does not help.",
)
UNEXPECTED = ProblemType(500, "Internal Server Error", "Something went wrong. The error has been logged.")
UNAVAILABLE = ProblemType(503, "Service Unavailable", "The service cannot answer right now. Try again.", RETRY_SOON)
OVERLOADED = ProblemType(503, "Service Unavailable", "Too many requests are waiting. Try again.", RETRY_SOON)
STORAGE_FULL = ProblemType(
    503, "Service Unavailable", "The service cannot store anything right now. Try again later.", RETRY_LATER
)
NOT_READY = ProblemType(503, "Service Unavailable", "The service is not ready.", RETRY_SOON)
NO_KEYS = ProblemType(503, "Service Unavailable", "Tokens cannot be verified right now. Try again.", RETRY_SOON)
OUTCOME_UNKNOWN = ProblemType(
    503,
    "Service Unavailable",
    "The change may or may not have been saved. Check before you try again.",
    RETRY_SOON,
    uri="urn:problem:outcome-unknown",
)


class FieldError(msgspec.Struct, frozen=True):
    """One value of a request that is not valid."""

    loc: Annotated[
        list[str], Meta(description="Where: body, path, query or header, then the name.", examples=[["body", "title"]])
    ]
    msg: Annotated[str, Meta(description="What is wrong: a sentence that you may show to the user.")]
    type: Annotated[str, Meta(description="What is wrong, for programs.")]


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document: RFC 9457, section 3.1, and the member `errors`."""

    type: Annotated[
        str, Meta(description="`about:blank`, or a URN where a program must tell problems of one status apart.")
    ]
    title: Annotated[str, Meta(description="The status in words.")]
    status: int
    detail: Annotated[str, Meta(description="One or more sentences that you may show to the user.")]
    errors: Annotated[
        tuple[FieldError, ...], Meta(description="The values that are not valid. Absent if there are none.")
    ] = ()


class Problem(Exception):
    """Raised to answer with a problem document. `errors` and `headers` are the details of this case."""

    def __init__(self, type: ProblemType, errors: tuple[FieldError, ...] = (), headers: Headers = ()) -> None:
        super().__init__(type.detail)
        self.type = type
        self.errors = errors
        self.headers = type.headers + headers

    def document(self) -> bytes:
        """The problem document, as JSON."""
        type = self.type
        shown = self.errors if type is INVALID else ()  # the errors of /readyz are for operators
        detail = " ".join(error.msg for error in shown) or type.detail
        return msgspec.json.encode(ProblemDocument(type.uri, type.title, type.status, detail, self.errors))


MESSAGES = {
    "body.incomplete": "The request body is incomplete.",
    "body.json_invalid": "The request body is not valid JSON.",
    "body.storage": "The text has a character that cannot be stored.",
    "body.type": "The request body must be a JSON object.",
    "query.query": "The query has more than 100 parameters or is not valid UTF-8.",
    "path.user_id.uuid": "The user id in the address is not a UUID.",
    "path.id.uuid": "The id in the address is not a UUID.",
    "header.If-Match.entity_tag": "If-Match must be * or a list of entity tags in quotes.",
    "header.If-None-Match.entity_tag": "If-None-Match must be * or a list of entity tags in quotes.",
}
"""The sentence for each value that is not valid, by its place and the error's type.

A resource adds its own (`tasks/messages.py`).
"""

TYPES = {"too_short": "length", "too_long": "length"}
"""Errors with a sentence each and one type."""


def invalid(loc: list[str], type: str, messages: Mapping[str, str] = MESSAGES) -> Problem:
    """A 422 that names a place such as ["body", "title"]. `messages` must have a sentence for it."""
    message = messages[".".join((*loc, type))]
    return Problem(INVALID, (FieldError(loc, message, TYPES.get(type, type)),))
