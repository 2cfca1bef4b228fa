"""What a package declares about its operations for the OpenAPI document, and the parameters and headers they share."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from service.api.etags import ANY_OR_TAGS
from service.api.problems import Problem

JSONObject = dict[str, Any]


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a request. `validate` is for query parameters: whether a text is a valid value."""

    place: Literal["path", "query", "header"]
    description: str
    schema: JSONObject
    validate: Callable[[str], object] = bool
    example: str = ""


class ResponseHeader(msgspec.Struct, frozen=True):
    """A header of a response. One that is not `required` may be absent where an operation lists it."""

    description: str
    schema: JSONObject
    required: bool = True


class Operation(msgspec.Struct, frozen=True):
    """One operation. The route table has its method and path, the handler's docstring its summary and description.

    document.py adds the problems that follow from the path, the parameters and the body. `problems` has the further
    ones, as the examples that the document shows.
    """

    status: int
    result: Any = None
    """The type of the response body."""
    example: Any = None
    body: Any = None
    """The type of the request body."""
    body_examples: dict[str, Any] = {}
    body_rules: dict[str, JSONObject] = {}
    """What a type of the request body cannot say: further members of its schema, by the type's name."""
    body_required: bool = True
    parameters: dict[str, Parameter] = {}
    """The parameters besides those of the path and X-Request-ID."""
    headers: tuple[str, ...] = ()
    """The response headers besides X-Request-ID."""
    problems: tuple[Problem, ...] = ()
    media_type: str = "application/json"


ENTITY_TAGS = {"type": "string", "pattern": f"^{ANY_OR_TAGS.decode()}$"}

CONDITIONS = {
    "If-Match": Parameter(
        "header", "`ETag` values in quotes, or `*`. 412 if none of these matches the current ETag.", ENTITY_TAGS
    ),
    "If-None-Match": Parameter(
        "header",
        "`ETag` values in quotes, or `*`. If one of these matches the current ETag, a GET is 304 and a write is 412.",
        ENTITY_TAGS,
    ),
}
"""Parameters of an operation whose resource has an ETag."""
REQUEST_ID = {
    "X-Request-ID": Parameter(
        "header",
        "An id for this request in the log: 1 to 64 letters, digits, `.`, `_` or `-`. Any other value is replaced.",
        {"type": "string"},
    )
}

RESPONSE_HEADERS = {
    "ETag": ResponseHeader(
        "The version. A long list, which is sent in pieces, has none.", {"type": "string"}, required=False
    ),
    "Idempotent-Replayed": ResponseHeader(
        "The task was created by an earlier request with this key.",
        {"type": "string", "const": "true"},
        required=False,
    ),
    "Link": ResponseHeader('The next page, `rel="next"`. The last page has none.', {"type": "string"}, required=False),
    "Location": ResponseHeader("The path of the new task.", {"type": "string", "format": "uri-reference"}),
    "Retry-After": ResponseHeader("Seconds to wait before the next try.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ResponseHeader("The way to sign in.", {"type": "string", "pattern": "^Bearer"}),
    "X-Request-ID": ResponseHeader("The id of this request in the log.", {"type": "string"}),
}
