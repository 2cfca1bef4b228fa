"""What the OpenAPI document says beyond routes, types and docstrings: words, examples, who refuses what."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from service.api import problems as errors
from service.api.problems import FieldError, Problem, invalid
from service.observability.health import Alive, Pool, Ready
from service.tasks.handlers import CompleteTask, CreateTask, Task, UpdateTask
from service.tasks.query import PARAMETERS

TASK = Task(
    id=UUID("0195d1f0-6c7a-7000-8000-000000000002"),
    user_id=UUID("7a5c0000-0000-4000-8000-000000000001"),
    title="Buy milk",
    description="Two litres",
    completed=False,
    created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    updated_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
)


UNREACHED = (
    errors.BAD_REQUEST,
    errors.NOT_FOR_THIS_PAGE,
    errors.NOT_FOUND,
    errors.METHOD_NOT_ALLOWED,
    errors.REQUEST_TIMEOUT,
    errors.HEADERS_TOO_LARGE,
    errors.OVERLOADED,
)
"""What is refused before any operation is reached, and so belongs to none."""

DESCRIPTION = """Tasks for each signed-in user, and nobody else's.

An answer of 4xx or 5xx is a problem document (RFC 9457): its `detail` is a sentence to show.
Besides those that the operations list there are, at any address:

""" + "\n".join(f"- {kind.status}: {kind.detail}" for kind in UNREACHED)

TAGS = {
    "tasks": "What a signed-in user does with their own tasks.",
    "service": "What anybody may ask, without a token.",
}

BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token whose `sub` is the user's id. In development, `python -m service token` prints one.",
}


class Operation(msgspec.Struct, frozen=True):
    """One operation: the answer when it succeeds, the parameters and bodies it takes, what only it refuses."""

    status: int
    answer: Any = None
    example: Any = None
    takes: Any = None
    bodies: dict[str, Any] = {}
    optional: bool = False
    """Whether the body may be left out."""
    parameters: tuple[str, ...] = ()
    """Those of the query and the header."""
    sends: tuple[str, ...] = ()
    """Headers of the answer, besides X-Request-ID."""
    refuses: tuple[Problem, ...] = ()
    media_type: str = "application/json"


NOT_READY = Problem(errors.NOT_READY, (FieldError(["service"], "no connection to the database", "unready"),))

OPERATIONS = {
    "list_tasks": Operation(
        200,
        list[Task],
        [TASK],
        parameters=(*PARAMETERS, "If-None-Match"),
        sends=("ETag", "Link"),
        refuses=(
            invalid(["query", "limit"], f"is not {PARAMETERS['limit'].meaning}", "value"),
            invalid(["query", "sort"], "is given more than once", "repeated"),
            invalid(["query", "cursor"], "was not given for this list", "cursor"),
        ),
    ),
    "create_task": Operation(
        201,
        Task,
        TASK,
        takes=CreateTask,
        bodies={
            "a title": {"title": "Buy milk"},
            "and a description": {"title": "Buy milk", "description": "Two litres"},
        },
        parameters=("Idempotency-Key",),
        sends=("ETag", "Idempotent-Replayed", "Location"),
        refuses=(
            Problem(errors.UNKNOWN_USER),
            invalid(["body", "title"], "is required", "missing"),
            invalid(["header", "Idempotency-Key"], "is not 1 to 255 visible ASCII characters", "value"),
            invalid(["header", "Idempotency-Key"], "was used for another task", "reused"),
        ),
    ),
    "get_task": Operation(200, Task, TASK, parameters=("If-None-Match",), sends=("ETag",)),
    "update_task": Operation(
        200,
        Task,
        TASK,
        takes=UpdateTask,
        bodies={"another title": {"title": "Buy oat milk"}, "no description": {"description": None}},
        parameters=("If-Match",),
        sends=("ETag",),
        refuses=(invalid(["body"], "has neither title nor description: there is nothing to update", "missing"),),
    ),
    "complete_task": Operation(
        200,
        Task,
        TASK,
        takes=CompleteTask,
        bodies={"completed": {"completed": True}, "not completed": {"completed": False}},
        optional=True,
        parameters=("If-Match",),
        sends=("ETag",),
        refuses=(invalid(["body", "completed"], "expected bool, got str", "type"),),
    ),
    "delete_task": Operation(204, media_type="", parameters=("If-Match",)),
    "health": Operation(200, Alive, Alive("healthy")),
    "livez": Operation(200, Alive, Alive("alive")),
    "readyz": Operation(200, Ready, Ready("ready", 0.412, Pool(open=5, idle=4, waiting=0)), refuses=(NOT_READY,)),
    "openapi": Operation(200, dict[str, Any]),
    "docs": Operation(200, str, media_type="text/html; charset=utf-8"),
}
"""By the handler's name."""


def refusals(method: str, path: str, operation: Operation) -> Iterator[Problem]:
    """Every problem that the operation at this route can answer with."""
    yield from operation.refuses
    if "{user_id}" in path:
        yield Problem(errors.UNAUTHORIZED)
        yield invalid(["path", "user_id"], "is not a UUID", "uuid")
        yield Problem(errors.FORBIDDEN)
        yield Problem(errors.UNEXPECTED)
        yield from map(Problem, (errors.UNAVAILABLE, errors.OVERLOADED, errors.NO_KEYS))
    if "{task_id}" in path:
        yield Problem(errors.NO_SUCH_TASK)
    for name in {"If-Match", "If-None-Match"}.intersection(operation.parameters):
        yield invalid(["header", name], "is neither * nor a list of entity tags in quotes", "entity_tag")
    if "If-Match" in operation.parameters:
        yield Problem(errors.PRECONDITION_FAILED)
    if method != "GET":
        yield from map(Problem, (errors.STORAGE_FULL, errors.OUTCOME_UNKNOWN))
    if operation.takes:
        yield from map(Problem, (errors.CONTENT_TOO_LARGE, errors.UNSUPPORTED_ENCODING))
        yield invalid(["body"], "is not valid JSON", "json_invalid")
