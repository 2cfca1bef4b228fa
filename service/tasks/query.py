"""What a caller may ask of a list: page size, place, order and filters, and the link to the next page."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from hmac import compare_digest
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import msgspec

from service.api.problems import Headers, invalid
from service.db.statements import Row, Statement
from service.settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
AFTER_ALL = (datetime(9999, 12, 31, tzinfo=UTC), UUID(int=2**128 - 1))
BEFORE_ALL = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))

CURSOR = "[A-Za-z0-9_-]{52}"
TEXT = r"[^\u0000]{1,200}"


class Order(msgspec.Struct, frozen=True):
    """An order of the list: its statement, the column's place in a row, and where its first page begins."""

    statement: Statement
    column: int
    start: tuple[datetime, UUID]


ORDERS = {
    "-created_at": Order(Statement("list_tasks_created_desc"), 5, AFTER_ALL),
    "created_at": Order(Statement("list_tasks_created_asc"), 5, BEFORE_ALL),
    "-updated_at": Order(Statement("list_tasks_updated_desc"), 6, AFTER_ALL),
    "updated_at": Order(Statement("list_tasks_updated_asc"), 6, BEFORE_ALL),
}
"""By the value of `sort`."""


class Parameter(msgspec.Struct, frozen=True):
    """What a parameter may be: as text, in words, and as JSON Schema."""

    takes: Callable[[str], object]
    meaning: str
    schema: dict[str, Any]


PARAMETERS = {
    "limit": Parameter(
        re.compile("[1-9][0-9]?|[1-4][0-9]{2}|500").fullmatch,
        "a whole number from 1 to 500",
        {"type": "integer", "minimum": 1, "maximum": 500},
    ),
    "cursor": Parameter(
        re.compile(CURSOR).fullmatch,
        "a cursor of this service",
        {"type": "string", "pattern": f"^{CURSOR}$"},
    ),
    "completed": Parameter(re.compile("true|false").fullmatch, "true or false", {"type": "boolean"}),
    "sort": Parameter(ORDERS.__contains__, f"one of {', '.join(ORDERS)}", {"type": "string", "enum": list(ORDERS)}),
    "q": Parameter(
        re.compile(TEXT).fullmatch,
        "1 to 200 characters without U+0000",
        {"type": "string", "pattern": f"^{TEXT}$"},
    ),
}


class Cursors:
    """Makes cursors, and takes back only its own: from the same user, for the same order and filters."""

    def __init__(self, settings: Settings) -> None:
        secret = settings.jwt_secret or settings.database_url  # what all processes share, and nobody else knows
        self._key = blake2b(secret.encode(), person=b"task cursor").digest()

    def cursor(self, place: tuple[datetime, UUID], question: str) -> str:
        """A place in the list that `question` asks for, as text for a URL."""
        at, task_id = place
        data = ((at - EPOCH) // MICROSECOND).to_bytes(8, "big", signed=True) + task_id.bytes
        return urlsafe_b64encode(data + self._seal(data, question)).decode()

    def place(self, cursor: str, question: str) -> tuple[datetime, UUID]:
        """Where a cursor points. Raises Problem(INVALID)."""
        try:
            sealed = urlsafe_b64decode(cursor)
        except ValueError:
            sealed = b""
        data = sealed[:24]
        if not compare_digest(sealed[24:], self._seal(data, question)) or urlsafe_b64encode(sealed).decode() != cursor:
            raise invalid(["query", "cursor"], "was not given for this list", "cursor")
        return EPOCH + int.from_bytes(data[:8], "big", signed=True) * MICROSECOND, UUID(bytes=data[8:])

    def _seal(self, data: bytes, question: str) -> bytes:
        return blake2b(data + question.encode(), digest_size=15, key=self._key).digest()


class Listing(msgspec.Struct, frozen=True):
    """A list as it was asked for: `limit` is None for all of it, `place` is of the last task seen."""

    order: Order = ORDERS["-created_at"]
    place: tuple[datetime, UUID] = AFTER_ALL
    completed: bool | None = None
    text: str | None = None
    limit: int | None = None
    question: str = ""

    def arguments(self, size: int) -> tuple[Any, ...]:
        """What its statement takes after the user's id."""
        return (*self.place, self.completed, self.text, size)

    def after(self, row: Row) -> "Listing":
        """The rest of it, from `row` on."""
        return msgspec.structs.replace(self, place=(row[self.order.column], row[0]))

    def next_page(self, row: Row, user_id: str, cursors: Cursors) -> Headers:
        """The Link to the page after `row`: RFC 8288."""
        query = (
            f"{self.question}limit={self.limit}&cursor={cursors.cursor(self.after(row).place, user_id + self.question)}"
        )
        return ((b"link", f'</api/{user_id}/tasks?{query}>; rel="next"'.encode()),)


def read_listing(query: bytes, user_id: str, cursors: Cursors) -> Listing:
    """What a query asks for; unknown parameters are ignored. Raises Problem(INVALID) that names the parameter."""
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise invalid(["query"], "is not text in UTF-8, or has too many parameters", "query") from None
    for name, value in pairs:
        if name in PARAMETERS:
            if name in given:
                raise invalid(["query", name], "is given more than once", "repeated")
            if not PARAMETERS[name].takes(value):
                raise invalid(["query", name], f"is not {PARAMETERS[name].meaning}", "value")
            given[name] = value
    kept = [(name, given[name]) for name in ("sort", "completed", "q") if name in given]
    question = urlencode(kept) + "&" if kept else ""
    order = ORDERS[given.get("sort", "-created_at")]
    return Listing(
        order,
        cursors.place(given["cursor"], user_id + question) if "cursor" in given else order.start,
        given["completed"] == "true" if "completed" in given else None,
        given.get("q"),
        int(given["limit"]) if "limit" in given else None,
        question,
    )
