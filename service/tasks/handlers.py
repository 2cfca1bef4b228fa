"""The task: its wire types, its statements, its handlers, in that order. The list has a page of its own."""

import re
from datetime import datetime
from hashlib import blake2b
from secrets import randbits
from typing import Annotated, Any
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.api.endpoint import Request
from service.api.etags import not_modified_or, parse_if_match, parse_if_none_match, task_tag
from service.api.payloads import JSON, Response, decode, encode
from service.api.problems import NO_SUCH_TASK, PRECONDITION_FAILED, Headers, Problem, invalid
from service.db.statements import Row, Statement
from service.tasks.users import with_user_created

Title = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        pattern=r"^\s*[^\s\u0000][^\u0000]*$",
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


CREATE_TASK = Statement("create_task")
CREATE_TASK_ONCE = Statement("create_task_once")
GET_TASK = Statement("get_task", batch_columns=(1, 0))
UPDATE_TASK = Statement("update_task")
UPDATE_TASK_IF_MATCH = Statement("update_task_if_match")
COMPLETE_TASK = Statement("complete_task")
COMPLETE_TASK_IF_MATCH = Statement("complete_task_if_match")
DELETE_TASK = Statement("delete_task")
DELETE_TASK_IF_MATCH = Statement("delete_task_if_match")

IDEMPOTENCY_KEY = rb"[\x21-\x7e]{1,255}"
is_idempotency_key = re.compile(IDEMPOTENCY_KEY).fullmatch

create_body = msgspec.json.Decoder(CreateTask)
update_body = msgspec.json.Decoder(UpdateTask)
complete_body = msgspec.json.Decoder(CompleteTask)


async def create_task(request: Request) -> Response:
    """A new task; with an Idempotency-Key, the same one however often it is asked for."""
    new = await request.json(create_body)
    texts = (new.title, new.description, new.completed)
    key = request.headers.get(b"idempotency-key")
    if key is None:
        row = await with_user_created(request, CREATE_TASK, *texts)
        return _created(request, Task(*row), 1)
    if not is_idempotency_key(key):
        raise invalid(["header", "Idempotency-Key"], "is not 1 to 255 visible ASCII characters", "value")
    fingerprint = int.from_bytes(blake2b(encode(texts), digest_size=8).digest(), signed=True)
    own_id = uuid5(request.user.id, key.decode())
    version = randbits(30) + 1  # create_task_once.sql says why it is random
    row = await with_user_created(request, CREATE_TASK_ONCE, own_id, *texts, fingerprint, version)
    version, same, created = row[7:]
    if not same:
        raise invalid(["header", "Idempotency-Key"], "was used for another task", "reused")
    return _created(request, Task(*row[:7]), version, () if created else ((b"idempotent-replayed", b"true"),))


def _created(request: Request, task: Task, version: int, headers: Headers = ()) -> Response:
    location = (b"location", f"/api/{request.user.id_text}/tasks/{task.id}".encode())
    return Response(201, encode(task), (*JSON, location, *task_tag(version), *headers))


async def get_task(request: Request) -> Response:
    """One task."""
    known = parse_if_none_match(request.headers)
    rows = await request.database.run(GET_TASK, request.user.id, request.task_id)
    if not rows:
        raise Problem(NO_SUCH_TASK)
    row = rows[0]
    return not_modified_or(known, task_tag(row[7]), encode(Task(*row[:7])))


async def update_task(request: Request) -> Response:
    """One task with another title, description or both."""
    change = await request.json(update_body)
    if change.title is UNSET and change.description is UNSET:
        raise invalid(["body"], "has neither title nor description: there is nothing to update", "missing")
    title = None if change.title is UNSET else change.title
    describes = change.description is not UNSET
    description = change.description if describes else None
    return _changed(await _written(request, UPDATE_TASK, UPDATE_TASK_IF_MATCH, title, describes, description))


async def complete_task(request: Request) -> Response:
    """One task completed or not, as the body says; flipped when there is no body."""
    body = await request.body()
    completed = decode(complete_body, body).completed if body else None
    return _changed(await _written(request, COMPLETE_TASK, COMPLETE_TASK_IF_MATCH, completed))


async def delete_task(request: Request) -> Response:
    """No answer but that the task is gone."""
    await _written(request, DELETE_TASK, DELETE_TASK_IF_MATCH)
    return Response(204, headers=())


async def _written(request: Request, plain: Statement, if_match: Statement, *arguments: Any) -> Row:
    """The row of a write to one task, at the version that If-Match asks for if it does."""
    versions = parse_if_match(request.headers)
    if versions is None:
        rows = await request.database.run(plain, request.user.id, request.task_id, *arguments)
    else:
        rows = await request.database.run(if_match, request.user.id, request.task_id, versions, *arguments)
        rows = [row[1:] for row in rows]  # without task_id, which only tells a task at another version from none
    if not rows:
        raise Problem(NO_SUCH_TASK)
    row = rows[0]
    if row[0] is None:
        raise Problem(PRECONDITION_FAILED)
    return row


def _changed(row: Row) -> Response:
    return Response(200, encode(Task(*row[:7])), JSON + task_tag(row[7]))
