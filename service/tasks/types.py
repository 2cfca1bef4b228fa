"""The wire types of a task, and the only code that converts a row of a statement to one."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
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


# Every statement that returns tasks has these columns first, in this order: tests/db/test_statements.py compares them.
# Rows are read by position, because reading 20 rows by name takes 2 us longer.
class Task(msgspec.Struct, frozen=True, gc=False):
    """A task as clients see it."""

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


def positions(*columns: str) -> tuple[int, ...]:
    """Where these columns are in a row of any statement that returns tasks."""
    return tuple(map(Task.__struct_fields__.index, columns))


_WIDTH = len(Task.__struct_fields__)
_TITLE = itemgetter(*positions("title"))

# Timestamps in rows are integers. encode_task() and encode_tasks() convert these two, and must convert any further one.
_CREATED_AT, _UPDATED_AT = positions("created_at", "updated_at")

START_OF_2000 = 946_684_800_000_000
"""In microseconds since the start of 1970. The rows' timestamps are microseconds since the start of 2000."""

EXACT_SECONDS = 2.0**32
"""Up to this many seconds from 1970 (until 2106), a float is within 0.25 us of the time. msgspec rounds it to 1 us."""


class _Times(msgspec.Struct, array_like=True, gc=False):
    created_at: datetime
    updated_at: datetime


class _TimesOfList(msgspec.Struct, array_like=True, gc=False):
    times: list[datetime]


def encode_task(row: Row) -> bytes:
    """The task in a row of any statement that returns one, as JSON."""
    columns = list(row[:_WIDTH])
    created, updated = (columns[_CREATED_AT] + START_OF_2000) / 1e6, (columns[_UPDATED_AT] + START_OF_2000) / 1e6
    if created.is_integer() or updated.is_integer() or not -EXACT_SECONDS < created <= updated < EXACT_SECONDS:
        return encode_elements([row])  # the rare cases of _timestamps(), which would cost every get more
    times = msgspec.convert((created, updated), _Times, strict=False)
    columns[_CREATED_AT], columns[_UPDATED_AT] = times.created_at, times.updated_at
    return encode(Task(*columns))


def encode_tasks(rows: list[Row]) -> bytes:
    """The tasks in rows of a list statement, as a JSON array."""
    if not rows:
        return b"[]"
    columns: list[Any] = list(islice(zip(*rows, strict=True), _WIDTH))
    times = _timestamps(columns[_CREATED_AT] + columns[_UPDATED_AT])
    columns[_CREATED_AT], columns[_UPDATED_AT] = times, times[len(rows) :]
    return encode(list(map(Task, *columns)))


def encode_elements(rows: list[Row]) -> bytes:
    """The tasks in rows, as the elements of a JSON array, without its brackets."""
    return encode_tasks(rows)[1:-1]


def _timestamps(microseconds: Sequence[int]) -> list[Any]:
    """Timestamps of rows, as values that msgspec encodes with six digits and `Z`.

    msgspec makes datetimes of all floats at once, which takes a tenth of the time of a loop. Then it writes no fraction
    if it is 0, one time in a million or where rows were imported: clients that parse a fixed format would fail.
    """
    seconds = [(value + START_OF_2000) / 1e6 for value in microseconds]
    if any(map(float.is_integer, seconds)) or not -EXACT_SECONDS < min(seconds) <= max(seconds) < EXACT_SECONDS:
        return [_text(value) for value in microseconds]
    return msgspec.convert((seconds,), _TimesOfList, strict=False).times


def _text(microseconds: int) -> str:
    time = datetime(2000, 1, 1) + timedelta(microseconds=microseconds)
    return time.isoformat(timespec="microseconds") + "Z"


def is_long(row: Row) -> bool:
    """Whether a row of a list statement represents a long task, and so lacks its title and its description.

    The list statements return an empty title for such a task; no stored title is empty.
    """
    return not _TITLE(row)


def all_short(rows: Iterable[Row]) -> bool:
    """Whether no row is_long()."""
    return all(map(_TITLE, rows))
