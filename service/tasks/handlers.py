"""The handlers of the operations on one task. list.py has the sixth operation."""

import re
from hashlib import blake2b
from secrets import randbits
from typing import Any
from uuid import UUID, uuid5

from msgspec import UNSET

from service.api.endpoint import Request
from service.api.etags import ANY, Conditions, conditional_response, parse_conditions, version_tag
from service.api.payloads import JSON, JSONBody, Response, encode
from service.api.problems import NO_SUCH_TASK, PRECONDITION_FAILED, Headers, Problem
from service.db.statements import Row, Statement
from service.tasks.messages import MESSAGES, invalid
from service.tasks.types import CompleteTask, CreateTask, UpdateTask, encode_task, positions
from service.tasks.users import create_user, must_create_user

CREATE_TASK = Statement("create_task")
CREATE_TASK_ONCE = Statement("create_task_once")
GET_TASK = Statement("get_task", batch_columns=positions("user_id", "id"))
UPDATE_TASK = Statement("update_task")
UPDATE_TASK_IF_MATCH = Statement("update_task_if_match")
COMPLETE_TASK = Statement("complete_task")
COMPLETE_TASK_IF_MATCH = Statement("complete_task_if_match")
DELETE_TASK = Statement("delete_task")
DELETE_TASK_IF_MATCH = Statement("delete_task_if_match")

FIRST_VERSION = 1

IDEMPOTENCY_KEY = rb"[\x21-\x7e]{1,255}"
is_idempotency_key = re.compile(IDEMPOTENCY_KEY).fullmatch

create_body = JSONBody(CreateTask, MESSAGES)
update_body = JSONBody(UpdateTask, MESSAGES)
complete_body = JSONBody(CompleteTask, MESSAGES)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
JSON_SPACE = b" \t\n\r"


async def create_task(request: Request) -> Response:
    """Create a task.

    With an `Idempotency-Key`, a repeat of the request creates no second task. It returns the first one, as it is now.
    """
    body = create_body.decode(await request.body())
    statement, arguments = CREATE_TASK, (body.title, body.description, body.completed)
    key = request.headers.get(b"idempotency-key")
    if key is not None:
        statement, arguments = CREATE_TASK_ONCE, _arguments_once(request.user.id, key, arguments)
    try:
        rows = await request.database.run(statement, request.user.id, *arguments)
    except Exception as error:  # must_create_user() knows which error means an unknown user
        if not must_create_user(request, error):
            raise
        rows = []
    if not rows:  # not within `except`: a further error would hold the first one, with its values
        await create_user(request)
        rows = await request.database.run(statement, request.user.id, *arguments)
    row = rows[0]
    if key is None:
        return _created(request, row, FIRST_VERSION)
    if not row["same"]:
        raise invalid("header", "Idempotency-Key", "reused")
    replayed = () if row["created"] else ((b"idempotent-replayed", b"true"),)
    return _created(request, row, row["version"], replayed)


def _arguments_once(user_id: UUID, key: bytes, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of CREATE_TASK_ONCE after the user's id. Raises Problem(INVALID) for a key that is not valid."""
    if not is_idempotency_key(key):
        raise invalid("header", "Idempotency-Key", "value")
    # Include a member that is added later only if the body has it: otherwise the fingerprint of every older body
    # changes, and a retry after an upgrade is 422.
    fingerprint = int.from_bytes(blake2b(encode(values), digest_size=8).digest(), signed=True)
    id = uuid5(user_id, key.decode())  # the same key of the same user gives the same id
    version = randbits(30) + 1  # create_task_once.sql says why it is random
    return (id, *values, fingerprint, version)


def _created(request: Request, row: Row, version: int, headers: Headers = ()) -> Response:
    location = (b"location", f"/api/{request.user.id_text}/tasks/{row['id']}".encode())
    return Response(201, encode_task(row), (*JSON, location, (b"etag", version_tag(version)), *headers))


async def get_task(request: Request) -> Response:
    """Get a task.

    Its `ETag` goes into the `If-Match` of a change. Another user's task is 404, as if it did not exist.
    """
    conditions = parse_conditions(request.headers)
    row = _one_or_404(await request.database.run(GET_TASK, request.user.id, request.resource_id))
    return conditional_response(conditions, version_tag(row["version"]), encode_task(row))


def _one_or_404(rows: list[Row]) -> Row:
    if not rows:
        raise Problem(NO_SUCH_TASK)
    return rows[0]


async def update_task(request: Request) -> Response:
    """Change a task's title, its description or both.

    An absent member keeps its value, and `null` clears the description. `completed` is not changed here.
    """
    body = update_body.decode(await request.body())
    if body.title is UNSET and body.description is UNSET:
        raise invalid("body", "missing")
    title = None if body.title is UNSET else body.title
    set_description = body.description is not UNSET
    description = body.description if set_description else None
    return _changed(await _write(request, UPDATE_TASK, UPDATE_TASK_IF_MATCH, title, set_description, description))


async def complete_task(request: Request) -> Response:
    """Set whether a task is completed, or flip it.

    With `{"completed": true}` or `{"completed": false}` a repeat changes nothing. Without a body, or with `null` or
    `{}`, the value flips; an Idempotency-Key is then refused, unless If-Match names the version.
    """
    body = await request.body()
    completed = None if _is_empty(body) else complete_body.decode(body).completed
    if completed is UNSET:
        raise invalid("body", "completed", "missing")
    if completed is None and b"idempotency-key" in request.headers:
        conditions = parse_conditions(request.headers)
        if conditions is None or conditions.any_version:
            raise invalid("header", "Idempotency-Key", "flip")  # the repeat that the key announces would flip it back
    return _changed(await _write(request, COMPLETE_TASK, COMPLETE_TASK_IF_MATCH, completed))


def _is_empty(body: bytes) -> bool:
    """Whether the body is nothing, `null` or `{}`: some clients cannot send a PATCH without a body."""
    value = body.removeprefix(BYTE_ORDER_MARK).strip(JSON_SPACE)
    return not body or value == b"null" or (value[:1] == b"{" and value[1:].strip(JSON_SPACE) == b"}")


async def delete_task(request: Request) -> Response:
    """Delete a task.

    A repeat of the request is 404.
    """
    await _write(request, DELETE_TASK, DELETE_TASK_IF_MATCH)
    return Response(204, headers=())


async def _write(request: Request, statement: Statement, if_match: Statement, *arguments: Any) -> Row:
    """The row of a write to one task. `if_match` is the variant of `statement` that takes versions."""
    conditions = parse_conditions(request.headers)
    if conditions is None or (conditions.any_version and conditions.if_none_match is None):
        rows = await request.database.run(statement, request.user.id, request.resource_id, *arguments)
    else:
        versions = await _versions(request, conditions)
        rows = await request.database.run(if_match, request.user.id, request.resource_id, versions, *arguments)
    row = _one_or_404(rows)
    if row["id"] is None:  # the task exists, at another version
        raise Problem(PRECONDITION_FAILED)
    return row


async def _versions(request: Request, conditions: Conditions) -> list[str]:
    """The versions at which the conditions allow a write.

    If only If-None-Match names versions, the task is read first: no statement takes versions that must not match.
    """
    if not conditions.any_version or conditions.if_none_match == ANY:
        return conditions.versions()
    row = _one_or_404(await request.database.run(GET_TASK, request.user.id, request.resource_id))
    version = str(row["version"])
    return [] if conditions.exclude(version.encode()) else [version]


def _changed(row: Row) -> Response:
    return Response(200, encode_task(row), (*JSON, (b"etag", version_tag(row["version"]))))
