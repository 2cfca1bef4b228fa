"""The task: its wire types, its statements, its handlers, in that order."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.endpoint import Request
from service.errors import NO_SUCH_TASK, Problem, invalid
from service.statements import Row, Statement
from service.users import provisioned
from service.wire import JSON, Response, decode, encode

Title = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        pattern=r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
        description="1 to 500 characters, not blank, without U+0000",
        examples=["Buy milk"],
    ),
]
Description = Annotated[str, Meta(pattern=r"^[^\u0000]*$", description="any text without U+0000")]
Moment = Annotated[datetime, Meta(tz=True, description="in UTC")]


class Task(msgspec.Struct, frozen=True, gc=False):
    """A task, as a caller sees it. The fields stand in the order of the statements' columns."""

    id: UUID
    user_id: UUID
    title: str
    description: str | None
    completed: bool
    created_at: Moment
    updated_at: Moment


class CreateTask(msgspec.Struct, frozen=True):
    """The body of create_task."""

    title: Title
    description: Description | None = None
    completed: bool = False


class UpdateTask(msgspec.Struct, frozen=True):
    """The body of update_task: at least one member. An absent one keeps its value; a null description clears it."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET


class CompleteTask(msgspec.Struct, frozen=True):
    """The body of complete_task, which may also have none."""

    completed: bool


LIST_TASKS = Statement("list_tasks", match=(1,))
LIST_TASKS_AFTER = Statement("list_tasks_after")
CREATE_TASK = Statement("create_task")
GET_TASK = Statement("get_task", match=(1, 0))
UPDATE_TASK = Statement("update_task")
COMPLETE_TASK = Statement("complete_task")
DELETE_TASK = Statement("delete_task")

PAGE = 500
"""A list of at most so many tasks is one statement and one write; a longer one is read and sent page by page."""

create_body = msgspec.json.Decoder(CreateTask)
update_body = msgspec.json.Decoder(UpdateTask)
complete_body = msgspec.json.Decoder(CompleteTask)


async def list_tasks(request: Request) -> Response:
    """All of the user's tasks, newest first."""
    rows = await LIST_TASKS.many(request.database, request.user.key, PAGE)
    body = encode([Task(*row) for row in rows])
    if len(rows) < PAGE:
        return Response(200, body)
    return Response(200, body[:-1], more=_further_pages(request, Task(*rows[-1])))


async def _further_pages(request: Request, last: Task) -> AsyncIterator[bytes]:
    while rows := await LIST_TASKS_AFTER.many(request.database, request.user.key, last.created_at, last.id, PAGE):
        yield b"," + encode([Task(*row) for row in rows])[1:-1]
        last = Task(*rows[-1])
    yield b"]"


async def create_task(request: Request) -> Response:
    """A new task."""
    new = await request.json(create_body)
    (row,) = await provisioned(
        request.service,
        request.user.key,
        lambda: CREATE_TASK.many(request.database, request.user.key, new.title, new.description, new.completed),
    )
    task = Task(*row)
    return Response(201, encode(task), (*JSON, (b"location", f"/api/{task.user_id}/tasks/{task.id}".encode())))


async def get_task(request: Request) -> Response:
    """One task."""
    return _one(await GET_TASK.one(request.database, request.user.key, request.task_id))


async def update_task(request: Request) -> Response:
    """One task with another title, description or both."""
    change = await request.json(update_body)
    if change.title is UNSET and change.description is UNSET:
        raise invalid(["body"], "has neither title nor description: there is nothing to update", "missing")
    title = None if change.title is UNSET else change.title
    describes = change.description is not UNSET
    description = change.description if describes else None
    row = await UPDATE_TASK.one(request.database, request.user.key, request.task_id, title, describes, description)
    return _one(row)


async def complete_task(request: Request) -> Response:
    """One task completed or not, as the body says; flipped when there is no body."""
    body = await request.body()
    completed = decode(complete_body, body).completed if body else None
    return _one(await COMPLETE_TASK.one(request.database, request.user.key, request.task_id, completed))


async def delete_task(request: Request) -> Response:
    """No answer but that the task is gone."""
    if await DELETE_TASK.one(request.database, request.user.key, request.task_id) is None:
        raise Problem(NO_SUCH_TASK)
    return Response(204, headers=())


def _one(row: Row | None) -> Response:
    if row is None:
        raise Problem(NO_SUCH_TASK)
    return Response(200, encode(Task(*row)))
