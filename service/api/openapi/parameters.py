"""What requests and answers may say outside of their bodies, as components of the OpenAPI document."""

from typing import Any

from service.api.endpoint import UUID_PATTERN
from service.api.etags import ANY_OR_TAGS
from service.api.openapi.operations import TASK
from service.tasks.handlers import IDEMPOTENCY_KEY
from service.tasks.query import PARAMETERS

JSONObject = dict[str, Any]

PATH = {
    "user_id": ("whose tasks: the token's `sub`", str(TASK.user_id)),
    "task_id": ("which task", str(TASK.id)),
}

QUERY = {
    "limit": "how many tasks on a page; without it, all of them",
    "cursor": "where the page begins: from the `Link` of the page before",
    "completed": "only tasks that are completed, or only those that are not",
    "sort": "the order, `-created_at` unless this says another; `-` is newest first",
    "q": "only tasks with this text in title or description, be it in capitals or not",
}
"""What each parameter is for; listing.py knows which values it takes."""

ENTITY_TAGS = {"type": "string", "pattern": f"^{ANY_OR_TAGS.decode()}$"}

FIELDS: dict[str, tuple[str, JSONObject]] = {
    "If-None-Match": ("`ETag` values in quotes, or `*`: what has one of them is not sent again", ENTITY_TAGS),
    "If-Match": ("`ETag` values in quotes, or `*`: a task that has none of them is left as it is", ENTITY_TAGS),
    "Idempotency-Key": (
        "an id of this intent, such as a random UUID: sent again with the same body, it makes no second task",
        {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY.decode()}$"},
    ),
    "X-Request-ID": ("an id to find this request by in the log; one that is not sane is replaced", {"type": "string"}),
}
"""What the header of a request may say."""

HEADERS: dict[str, tuple[str, JSONObject]] = {
    "ETag": ("the version; a list that is sent in pieces, because it is long, has none", {"type": "string"}),
    "Idempotent-Replayed": ("that the task was made before, with this key", {"type": "string", "const": "true"}),
    "Link": ('the next page, `rel="next"`; absent from the last', {"type": "string"}),
    "Location": ("where the new task is", {"type": "string", "format": "uri-reference"}),
    "Retry-After": ("seconds to wait before another try", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("how to sign in", {"type": "string", "const": "Bearer"}),
    "X-Request-ID": ("the request in the log: the caller's own id if it is a sane one", {"type": "string"}),
}
"""What the header of an answer may say."""

SOMETIMES = ("ETag", "Idempotent-Replayed", "Link")
"""Those that an answer with this status may also lack."""


def parameters() -> JSONObject:
    """Every parameter that some operation takes, by its name."""
    found: JSONObject = {}
    for name, (description, example) in PATH.items():
        schema = {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}
        found[name] = _parameter("path", name, description, schema) | {"required": True, "example": example}
    for name, parameter in PARAMETERS.items():
        found[name] = _parameter("query", name, QUERY[name], parameter.schema)
    for name, (description, schema) in FIELDS.items():
        found[name] = _parameter("header", name, description, schema)
    return found


def _parameter(place: str, name: str, description: str, schema: JSONObject) -> JSONObject:
    return {"name": name, "in": place, "description": description, "schema": schema}


def headers() -> JSONObject:
    """Every header that some answer has, by its name."""
    return {
        name: {"description": description, "required": name not in SOMETIMES, "schema": schema}
        for name, (description, schema) in HEADERS.items()
    }
