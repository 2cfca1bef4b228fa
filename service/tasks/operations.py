"""The OpenAPI declarations of the task operations: results, bodies, parameters, examples and problems."""

from datetime import UTC, datetime
from uuid import UUID

from service.api import problems
from service.api.endpoint import UUID_PATTERN
from service.api.openapi.operation import CONDITIONS, Operation, Parameter
from service.api.problems import Problem
from service.tasks.handlers import IDEMPOTENCY_KEY
from service.tasks.messages import invalid
from service.tasks.query import PARAMETERS
from service.tasks.types import CompleteTask, CreateTask, Task, UpdateTask

TASK = Task(
    id=UUID("0195d1f0-6c7a-7000-8000-000000000002"),
    user_id=UUID("7a5c0000-0000-4000-8000-000000000001"),
    title="Buy milk",
    description="Two litres",
    completed=False,
    created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    updated_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
)

UUID_SCHEMA = {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}

PATH = {
    "user_id": Parameter(
        "path",
        "The token's user: their id, or `me`.",
        {"type": "string", "pattern": f"^me$|{UUID_PATTERN}"},
        example=str(TASK.user_id),
    ),
    "id": Parameter("path", "The task's id.", UUID_SCHEMA, example=str(TASK.id)),
}

KEY = {
    "Idempotency-Key": Parameter(
        "header",
        "An id of this creation, such as a random UUID. A repeat with the same key and body creates no second task.",
        {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY.decode()}$"},
    )
}

TITLE_OR_DESCRIPTION = {
    "if": {"required": ["title"], "properties": {"title": True}},
    "else": {"required": ["description"], "properties": {"description": True}},
}
"""At least one of the two. minProperties would count unknown members, and generators turn an anyOf into "any type"."""

COMPLETED_UNLESS_EMPTY = {
    "if": {"minProperties": 1},
    "then": {"required": ["completed"], "properties": {"completed": True}},
}

NO_SUCH_TASK = Problem(problems.NO_SUCH_TASK)

OPERATIONS = {
    "list_tasks": Operation(
        200,
        result=list[Task],
        example=[TASK],
        parameters=PARAMETERS | CONDITIONS,
        headers=("ETag", "Link"),
        problems=(
            invalid("query", "limit", "value"),
            invalid("query", "sort", "repeated"),
            invalid("query", "cursor", "cursor"),
        ),
    ),
    "create_task": Operation(
        201,
        result=Task,
        example=TASK,
        body=CreateTask,
        body_examples={
            "a title": {"title": "Buy milk"},
            "and a description": {"title": "Buy milk", "description": "Two litres"},
        },
        parameters=KEY,
        headers=("ETag", "Idempotent-Replayed", "Location"),
        problems=(
            Problem(problems.UNKNOWN_USER),
            invalid("body", "title", "missing"),
            invalid("header", "Idempotency-Key", "value"),
            invalid("header", "Idempotency-Key", "reused"),
        ),
    ),
    "get_task": Operation(
        200, result=Task, example=TASK, parameters=CONDITIONS, headers=("ETag",), problems=(NO_SUCH_TASK,)
    ),
    "update_task": Operation(
        200,
        result=Task,
        example=TASK,
        body=UpdateTask,
        body_rules={"UpdateTask": TITLE_OR_DESCRIPTION},
        body_examples={"another title": {"title": "Buy oat milk"}, "no description": {"description": None}},
        parameters=CONDITIONS,
        headers=("ETag",),
        problems=(
            NO_SUCH_TASK,
            invalid("body", "missing"),
        ),
    ),
    "complete_task": Operation(
        200,
        result=Task,
        example=TASK,
        body=CompleteTask | None,
        body_rules={"CompleteTask": COMPLETED_UNLESS_EMPTY},
        body_examples={"completed": {"completed": True}, "not completed": {"completed": False}},
        body_required=False,
        parameters=CONDITIONS,
        headers=("ETag",),
        problems=(NO_SUCH_TASK, invalid("body", "completed", "type"), invalid("header", "Idempotency-Key", "flip")),
    ),
    "delete_task": Operation(204, parameters=CONDITIONS, problems=(NO_SUCH_TASK,)),
}
"""By the handler's name."""
