"""The wire types of a task, and the only code that knows how a row of a statement becomes one."""

from collections.abc import Iterable
from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.api.payloads import encode
from service.db.statements import Row

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
Timestamp = Annotated[datetime, Meta(tz=True, description="In UTC, with six digits of a second and `Z`.")]


class Task(msgspec.Struct, frozen=True, gc=False):
    """A task as clients see it.

    The fields have the names and the order of the columns that every statement on tasks returns.
    """

    id: UUID
    user_id: UUID
    title: str
    description: str | None
    completed: bool
    created_at: Timestamp
    updated_at: Timestamp


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
    """The body of complete_task, if it has one. An object with members must have `completed`."""

    completed: bool | UnsetType = UNSET


_columns = itemgetter(*Task.__struct_fields__)
_WIDTH = len(Task.__struct_fields__)
_title = itemgetter("title")


def encode_task(row: Row) -> bytes:
    """The task in a row of any statement that returns one, as JSON. Columns are taken by name."""
    task = Task(*_columns(row))
    return encode(task if _has_fractions(task) else _with_fractions(task))


def encode_tasks(rows: list[Row]) -> bytes:
    """The tasks in rows of a list statement, as a JSON array.

    Columns are taken by position: a list of 20 takes 2 us less than by name. tests/db/test_statements.py compares the
    first columns of every list statement with the fields of Task.
    """
    is_wider = rows and len(rows[0]) > _WIDTH  # list_tasks.sql returns no further column, and slices cost 1 us
    tasks = [Task(*row[:_WIDTH]) for row in rows] if is_wider else [Task(*row) for row in rows]
    if [task for task in tasks if not (task.created_at.microsecond and task.updated_at.microsecond)]:
        tasks = [task if _has_fractions(task) else _with_fractions(task) for task in tasks]
    return encode(tasks)


def _has_fractions(task: Task) -> int:
    # msgspec writes no fraction if it is 0, one time in a million or where rows were imported, and clients that parse
    # with a fixed format fail then. This look costs 0.05 us a task.
    return task.created_at.microsecond and task.updated_at.microsecond


def _with_fractions(task: Task) -> Task:
    """The task with its timestamps as text of six digits, for encoding only."""
    texts: dict[str, Any] = {
        name: getattr(task, name).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for name in ("created_at", "updated_at")
    }
    return msgspec.structs.replace(task, **texts)


def is_long(row: Row) -> bool:
    """Whether a row of a list statement stands for a long task, whose title and description it does not carry.

    The list statements return an empty title for such a task; no stored title is empty.
    """
    return not _title(row)


def all_short(rows: Iterable[Row]) -> bool:
    """Whether no row is_long()."""
    return all(map(_title, rows))
