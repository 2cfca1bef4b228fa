"""The query of list_tasks: order, filters, page size and cursor, and the link to the next page."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from hmac import compare_digest
from string import punctuation
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import msgspec

from service.api.endpoint import Request
from service.api.openapi.operation import Parameter
from service.db.statements import Row, Statement
from service.settings import Settings, SettingsError
from service.tasks.messages import invalid

WINDOW = 1000
"""The number of tasks that a filtered page scans. It bounds a statement's cost, however many tasks a user has."""

CURSOR = "(?:[A-Za-z0-9_-]{52})?"
TEXT = r"[^\u0000]{0,200}"

Position = tuple[int, UUID]
"""A position in a list: the time and the id of the last task before it. The time is as in a row: see db/driver.py."""

LATEST: Position = (2**63 - 1, UUID(int=2**128 - 1))
"""After every task: the timestamp `infinity`, and the largest UUID."""

EARLIEST: Position = (-(2**63), UUID(int=0))
"""Before every task: the timestamp `-infinity`, and the smallest UUID."""


class Order(msgspec.Struct, frozen=True):
    """An order of the list: its statement, the column it sorts by, and the position before its first task."""

    statement: Statement
    column: str
    start: Position


ORDERS = {
    "-created_at": Order(Statement("list_tasks_created_desc"), "created_at", LATEST),
    "created_at": Order(Statement("list_tasks_created_asc"), "created_at", EARLIEST),
    "-updated_at": Order(Statement("list_tasks_updated_desc"), "updated_at", LATEST),
    "updated_at": Order(Statement("list_tasks_updated_asc"), "updated_at", EARLIEST),
}
"""By the value of `sort`."""

PARAMETERS = {
    "limit": Parameter(
        "query",
        "The most tasks on a page; a filtered page may have fewer. Without it the list has all tasks.",
        {"type": "integer", "minimum": 1, "maximum": 500},
        re.compile("[1-9][0-9]?|[1-4][0-9]{2}|500").fullmatch,
    ),
    "cursor": Parameter(
        "query",
        "The start of the page, taken from the `Link` header of the page before.",
        {"type": "string", "pattern": f"^{CURSOR}$"},
        re.compile(CURSOR).fullmatch,
    ),
    "completed": Parameter(
        "query",
        "`true` for completed tasks only, `false` for open tasks only.",
        {"type": "boolean"},
        re.compile("true|false", re.IGNORECASE).fullmatch,  # Python clients send True
    ),
    "sort": Parameter(
        "query",
        "The order. `-` sorts newest first. The default is `-created_at`.",
        {"type": "string", "enum": list(ORDERS)},
        ORDERS.__contains__,
    ),
    "q": Parameter(
        "query",
        "Only tasks with this text in the title or the first 4,096 characters of the description, in any case.",
        {"type": "string", "pattern": f"^{TEXT}$"},
        re.compile(TEXT).fullmatch,
    ),
}


class ListQuery(msgspec.Struct, frozen=True):
    """A parsed query. `limit` is None for all tasks; the list starts after `position`."""

    order: Order = ORDERS["-created_at"]
    position: Position = LATEST
    completed: bool | None = None
    pattern: str | None = None
    limit: int | None = None
    filter_key: str = ""
    """The order and the filters as a query string. A cursor is valid only for the filter_key it was signed for."""

    def arguments(self, size: int) -> tuple[Any, ...]:
        """The arguments of the order's statement after the user's id, for at most `size` rows."""
        window = size if self.completed is None and self.pattern is None else WINDOW
        return (*self.position, self.completed, self.pattern, window, size)

    def after(self, row: Row) -> "ListQuery":
        """The same query, starting after `row`."""
        return msgspec.structs.replace(self, position=(row[self.order.column], row["id"]))


def parse_query(request: Request) -> ListQuery:
    """The request's query; unknown parameters are ignored. Raises Problem(INVALID) that names the parameter."""
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(request.query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise invalid("query", "query") from None
    for name, value in pairs:
        if name not in PARAMETERS:
            continue
        if name in given:
            raise invalid("query", name, "repeated")
        if not PARAMETERS[name].validate(value):
            raise invalid("query", name, "value")
        if value:  # an empty cursor or q counts as absent: a form without a search text sends it
            given[name] = value.lower() if name == "completed" else value
    filters = [(name, given[name]) for name in ("sort", "completed", "q") if name in given]
    filter_key = urlencode(filters) + "&" if filters else ""
    order = ORDERS[given.get("sort", "-created_at")]
    return ListQuery(
        order,
        decode_cursor(request, given["cursor"], filter_key) if "cursor" in given else order.start,
        given["completed"] == "true" if "completed" in given else None,
        case_insensitive_pattern(given["q"]) if "q" in given else None,
        int(given["limit"]) if "limit" in given else None,
        filter_key,
    )


def case_insensitive_pattern(text: str) -> str:
    """A PostgreSQL regular expression that matches `text`, each letter in either case.

    It lists the letters, so that the database's locale does not matter: in a Turkish one lower('I') is not 'i'.
    """
    return "".join(map(_either_case, text))


def _either_case(character: str) -> str:
    lower, upper = character.lower(), character.upper()
    forms = {form for form in (character, lower, upper, lower.upper()) if len(form) == 1}  # upper("ß") is "SS"
    if len(forms) > 1:
        return f"[{''.join(sorted(forms))}]"
    return f"\\{character}" if character in punctuation else character


def next_link(request: Request, query: ListQuery) -> bytes:
    """The value of a Link header to `query` as the next page: RFC 8288."""
    cursor = sign_cursor(request, query.position, query.filter_key)
    url = f"/api/{request.user.id_text}/tasks?{query.filter_key}limit={query.limit}&cursor={cursor}"
    return f'<{url}>; rel="next"'.encode()


def sign_cursor(request: Request, position: Position, filter_key: str) -> str:
    """A position as text for a URL: time, id, and a signature over them, the user and `filter_key`."""
    time, id = position
    data = time.to_bytes(8, "big", signed=True) + id.bytes
    key = request.dependencies.signing_keys[0]
    return urlsafe_b64encode(data + _signature(request, data, filter_key, key)).decode()


def decode_cursor(request: Request, cursor: str, filter_key: str) -> Position:
    """The position in a cursor. Raises Problem(INVALID) unless it was signed for this user and `filter_key`."""
    try:
        signed = urlsafe_b64decode(cursor)
    except ValueError:
        signed = b""
    data, signature = signed[:24], signed[24:]
    keys = request.dependencies.signing_keys
    # Comparing the text too refuses a second spelling of the same bytes.
    if (
        not any(compare_digest(signature, _signature(request, data, filter_key, key)) for key in keys)
        or urlsafe_b64encode(signed).decode() != cursor
    ):
        raise invalid("query", "cursor", "cursor")
    return int.from_bytes(data[:8], "big", signed=True), UUID(bytes=data[8:])


def _signature(request: Request, data: bytes, filter_key: str, key: bytes) -> bytes:
    signed = data + request.user.id_text.encode() + filter_key.encode()
    return blake2b(signed, digest_size=15, key=key).digest()


def signing_keys(settings: Settings) -> tuple[bytes, ...]:
    """The keys of cursors, from secrets that all processes of a deployment share. The first signs, all verify.

    Never from DATABASE_URL: anyone with a cursor could then test guesses of the database's password.
    Raises SettingsError when no secret is set.
    """
    secrets = (settings.cursor_secret, settings.jwt_secret, settings.jwt_secret_previous)
    keys = tuple(blake2b(secret.encode(), person=b"task cursor 2").digest() for secret in secrets if secret)
    if not keys:
        raise SettingsError("CURSOR_SECRET is missing: without JWT_SECRET, it signs the cursors of lists")
    return keys
